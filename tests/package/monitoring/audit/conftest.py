"""The job that audits look at, on Redis and on a cache of another kind, and what an audit says in short."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from django.core.cache import cache

from tests.package.monitoring.things import LOCMEM
from warmer import warm_many
from warmer.models import CacheAudit


def declare(source: Mapping[Any, Any], **options: Any) -> Any:
    """Declare a job whose loader gives what is in a dictionary; its ids are those of the dictionary."""
    options = {"ids": lambda: list(source), "name": "things", "batch_size": 4} | options

    @warm_many("thing:{id}", **options)
    def things(ids: Sequence[Any]) -> Mapping[Any, Any]:
        return {id: source[id] for id in ids if id in source}

    return things


def counts(found: CacheAudit) -> dict[str, int]:
    """Return the verdicts that occurred, and see that they add up."""
    occurred = {name: getattr(found, name) for name in ("right", "wrong", "missing", "no_value", "changed", "failed")}
    assert sum(occurred.values()) == found.sampled
    return {name: number for name, number in occurred.items() if number}


def wrong_fields(found: CacheAudit) -> dict[str, tuple[str, ...]]:
    """Return the keys that are wrong, with the fields that differ."""
    return {each["key"]: tuple(each["fields"]) for each in found.wrong_keys}


@pytest.fixture(params=["redis", "locmem"])
def any_cache(request: pytest.FixtureRequest, settings: Any) -> str:
    """Run a test on Redis, and once more on a cache behind Django's interface alone."""
    if request.param == "locmem":
        settings.CACHES = LOCMEM
        cache.clear()
    return str(request.param)


@pytest.fixture
def source() -> dict[Any, Any]:
    """What the loader of `job` gives: ten things."""
    return {number: {"id": number, "name": f"thing {number}"} for number in range(10)}


@pytest.fixture
def job(any_cache: str, source: dict[Any, Any]) -> Any:
    return declare(source)
