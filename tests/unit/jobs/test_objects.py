"""What a job is: its loader when called, a key for an id, and a run of chosen ids."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.jobs.declarations import crowd, crowd_ids, lonely, warm_crowd, warm_lonely
from warmer import warm_many
from warmer.exceptions import InvalidId

pytestmark = pytest.mark.usefixtures("registry")


def test_job__is_its_loader_when_called() -> None:
    assert warm_lonely()() == "value"
    assert warm_crowd()([7]) == {7: "value 7"}


@pytest.mark.parametrize(("declare", "loader"), [(warm_lonely, lonely), (warm_crowd, crowd)])
def test_job__looks_like_its_loader(declare: Callable[..., Any], loader: Callable[..., Any]) -> None:
    job = declare(name="mine")

    assert (job.__name__, job.__doc__, job.__module__) == (loader.__name__, loader.__doc__, loader.__module__)
    assert inspect.signature(job) == inspect.signature(loader)


def test_job__shows_its_name_and_key() -> None:
    assert repr(warm_lonely(name="mine")) == "<SingleJob mine 'lonely'>"
    assert repr(warm_crowd()) == "<KeyedJob crowd 'crowd:{id}'>"


def test_key__of_a_keyed_job() -> None:
    job = warm_crowd()

    assert job.key(42) == "crowd:42"
    with pytest.raises(InvalidId):
        job.key("4 2")


def test_warm__id_that_makes_no_key_loads_nothing() -> None:
    asked: list[Any] = []
    job = warm_many("crowd:{id}", ids=crowd_ids, name="crowd")(lambda ids: asked.append(ids) or {})

    with pytest.raises(InvalidId, match=r"^'4 2' cannot be an id of crowd:"):
        job.warm(iter([1, "4 2"]))

    assert not asked


def test_warm__takes_ids_that_can_be_read_once() -> None:
    report = warm_crowd().warm(iter([1, 2]))

    assert (report.written, report.keys) == (2, 2)


@pytest.mark.parametrize("call", ["warm", "invalidate", "get_many"])
@pytest.mark.parametrize("ids", [12, "12", b"12", 1.5, object])
def test_ids__are_several(call: str, ids: Any) -> None:
    job = warm_crowd()

    with pytest.raises(TypeError) as caught:
        getattr(job, call)(ids)

    assert str(caught.value) == f"{call}() takes a list of ids: write crowd.{call}([{ids!r}])"
