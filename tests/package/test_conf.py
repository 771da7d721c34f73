"""Settings: the project's `WARMER_X`, or else the default; what cannot work is refused at the start."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.support.fixtures import Python
from warmer.conf import check_settings, conf


@pytest.fixture(autouse=True)
def _nothing_set(settings: Any) -> None:
    for name in dir(settings):
        if name.startswith("WARMER_"):
            delattr(settings, name)


def test_defaults__are_valid() -> None:
    check_settings()


def test_setting__is_read_live(settings: Any) -> None:
    settings.WARMER_BATCH_SIZE = 7
    assert conf.BATCH_SIZE == 7
    del settings.WARMER_BATCH_SIZE
    assert conf.BATCH_SIZE == 500


@pytest.mark.parametrize("value", [5, 5.0, timedelta(seconds=5)])
def test_setting__duration_is_a_timedelta_or_seconds(settings: Any, value: Any) -> None:
    settings.WARMER_READ_WAIT = value
    check_settings()
    assert timedelta(seconds=5) == conf.READ_WAIT


INTEGER = "an integer, at least 1"
DURATION = "a timedelta or a number of seconds, at least"
PACE = "a number of at least 0.1, or 0 for no limit"
MOMENT = "an ISO 8601 time with its offset, e.g. '2026-11-30T12:00:00+00:00'"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("BATCH_SIZE", 0, INTEGER),
        ("BATCH_SIZE", 2.5, INTEGER),
        ("BATCH_SIZE", True, INTEGER),
        ("FENCE_RECORDS", "10", INTEGER),
        ("LOG_CACHE_CALLS", -1, "an integer, at least 0"),
        ("MAX_BATCHES_PER_SECOND", 0.01, PACE),
        ("MAX_BATCHES_PER_SECOND", float("nan"), PACE),
        ("MAX_BATCHES_PER_SECOND", "fast", PACE),
        ("READ_WAIT", "10 s", f"{DURATION} 0"),
        ("REPLICA_LAG", timedelta(seconds=-1), f"{DURATION} 0"),
        ("READ_CLAIM", 0, f"{DURATION} 0.001"),
        ("STALL_TIMEOUT", timedelta(0), f"{DURATION} 1"),
        ("COUNT_READS", "False", "True or False"),
        ("METRICS", None, "True or False"),
        ("METRICS_TOKEN", 5, "a string"),
        ("QUEUE", "", "the name of a Celery queue"),
        ("QUEUE", None, "the name of a Celery queue"),
        ("CACHE", "misspelt", "a name in CACHES: 'default'"),
        ("CAPTURE", "trigger", "'signals' or 'triggers'"),
        ("READY_WARM_SINCE", "yesterday", MOMENT),
        ("READY_WARM_SINCE", "2026-11-30T12:00:00", MOMENT),
    ],
)
def test_setting__that_cannot_work(settings: Any, name: str, value: Any, expected: str) -> None:
    setattr(settings, f"WARMER_{name}", value)
    with pytest.raises(ImproperlyConfigured) as caught:
        check_settings()
    shown = {"READ_CLAIM": repr(timedelta(0)), "METRICS_TOKEN": "***"}.get(name, repr(value))
    assert str(caught.value) == f"Wrong settings of warmer: WARMER_{name} = {shown}: expected {expected}"


def test_setting__unknown(settings: Any) -> None:
    settings.WARMER_BATCHSIZE = 1
    with pytest.raises(
        ImproperlyConfigured, match=r"WARMER_BATCHSIZE: unknown setting; did you mean WARMER_BATCH_SIZE\?"
    ):
        check_settings()


def test_setting__that_cannot_work_stops_the_project(python: Python, tmp_path: Path) -> None:
    (tmp_path / "wrong_settings.py").write_text("from config.settings import *\nWARMER_BATCH_SIZE = '500'\n")
    done = python("import django; django.setup()", DJANGO_SETTINGS_MODULE="wrong_settings")
    assert done.returncode == 1
    assert "WARMER_BATCH_SIZE = '500': expected an integer, at least 1" in done.stderr
