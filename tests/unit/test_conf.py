"""Settings: the project's `WARMER_X`, or else the default."""

from __future__ import annotations

import ast
import inspect
from datetime import timedelta
from typing import Any, get_type_hints

import pytest
from django.test import override_settings

from warmer.conf import Settings, conf

DEFAULTS = {
    "CACHE": "default",
    "QUEUE": "warming",
    "BATCH_SIZE": 500,
    "FENCE_ATTEMPTS": 4,
    "FENCE_RECORDS": 10_000,
    "READ_WAIT": timedelta(seconds=10),
    "READ_CLAIM": timedelta(seconds=5),
    "RUN_EXPIRY": timedelta(hours=1),
    "STALL_TIMEOUT": timedelta(minutes=10),
    "REFRESH_DELAY": timedelta(seconds=2),
    "CAPTURE": "",
    "REPLAY": timedelta(seconds=60),
    "REPORTED_FAILURES": 20,
}


NAMES = [name for name in vars(Settings) if name.isupper()]


@pytest.fixture(autouse=True)
def _nothing_set(settings: Any) -> None:
    for name in NAMES:
        if hasattr(settings, f"WARMER_{name}"):
            delattr(settings, f"WARMER_{name}")


@pytest.mark.parametrize("name", DEFAULTS)
def test_setting__default(name: str) -> None:
    assert getattr(conf, name) == DEFAULTS[name]


def test_defaults__are_those_of_settings() -> None:
    assert set(DEFAULTS) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_setting__default_is_of_its_type(name: str) -> None:
    assert type(getattr(conf, name)) is get_type_hints(Settings)[name]


@pytest.mark.parametrize("name", NAMES)
def test_setting__is_documented(name: str) -> None:
    (declared,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(declared, ast.ClassDef)
    documented = {
        statement.target.id
        for statement, after in zip(declared.body, declared.body[1:], strict=False)
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and isinstance(after, ast.Expr)
    }

    assert name in documented


@pytest.mark.parametrize("name", NAMES)
def test_setting__is_read_live(name: str) -> None:
    default = getattr(conf, name)

    with override_settings(**{f"WARMER_{name}": "the project's"}):
        assert getattr(conf, name) == "the project's"

    assert getattr(conf, name) == default


def test_setting__nothing_that_the_project_says_is_no_default(settings: Any) -> None:
    settings.WARMER_BATCH_SIZE = 0

    assert conf.BATCH_SIZE == 0


def test_setting__unknown(settings: Any) -> None:
    settings.WARMER_NO_SUCH_SETTING = 1

    with pytest.raises(AttributeError, match="NO_SUCH_SETTING"):
        _ = conf.NO_SUCH_SETTING  # type: ignore[attr-defined]
