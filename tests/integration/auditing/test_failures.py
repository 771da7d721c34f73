"""What fails in an audit: its own keys only, or the whole."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from django.core.cache import cache
from django.db import OperationalError

from embedded.redis_server import RedisServer
from tests.integration.auditing.things import counts, declare
from warmer import StoreUnavailable, jobs, warm, warm_many
from warmer.exceptions import LoaderError
from warmer.monitoring.audit.audits import audit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.mark.parametrize("bad", [{0}, {9}, {3, 4}, set(range(10))])
def test_failed__bad_rows_cost_their_own_keys_only(any_cache: str, source: Any, bad: set[int]) -> None:
    job = declare(source)
    job.warm()
    jobs.unregister("things")

    @warm_many("thing:{id}", ids=lambda: range(10), name="things", batch_size=4)
    def broken(ids: Sequence[int]) -> Mapping[int, Any]:
        for id in ids:
            if id in bad:
                raise ValueError(f"row {id} is broken")
        return {id: source[id] for id in ids}

    found = audit(broken.spec)
    assert counts(found) == {name: n for name, n in (("right", 10 - len(bad)), ("failed", len(bad))) if n}
    assert {each["key"]: each["error"] for each in found.failures} == {
        f"thing:{id}": f"ValueError: row {id} is broken" for id in bad
    }
    assert not found.ok


def test_failed__loader_that_returns_no_mapping_is_asked_once_a_batch(any_cache: str) -> None:
    calls: list[int] = []
    job = warm_many("thing:{id}", ids=lambda: range(8), name="things", batch_size=4)(
        lambda ids: calls.append(1) or [1]  # type: ignore[arg-type, func-returns-value]
    )
    found = audit(job.spec)
    assert (counts(found), len(calls)) == ({"failed": 8}, 2)
    assert found.failures[0]["error"].startswith(LoaderError.__name__)


def test_failed__value_that_cannot_be_cached(any_cache: str) -> None:
    value: dict[str, Any] = {"x": threading.Lock()}
    job = warm("x", name="x")(lambda: value)
    cache.set("x", "old")
    found = audit(job.spec)
    assert counts(found) == {"failed": 1}
    kind = "UnsupportedValue" if any_cache == "redis" else "TypeError"
    assert found.failures[0]["error"].startswith(f"its value cannot be encoded: {kind}")


def test_failed__what_cannot_be_an_id(job: Any) -> None:
    jobs.unregister("things")
    bad = warm_many("thing:{id}", ids=lambda: [1, "a b", 2], name="things")(lambda ids: dict.fromkeys(ids, 1))
    found = audit(bad.spec)
    assert counts(found) == {"missing": 2, "failed": 1}
    assert "'a b'" in found.failures[0]["key"]


def test_failed__database_away_ends_the_audit(any_cache: str) -> None:
    def loader(ids: Sequence[int]) -> Mapping[int, Any]:
        raise OperationalError("gone")

    job = warm_many("thing:{id}", ids=lambda: [1], name="things")(loader)
    with pytest.raises(OperationalError):
        audit(job.spec)


def test_failed__cache_away_ends_the_audit(source: Any, redis_server: RedisServer) -> None:
    job = declare(source)
    redis_server.stop()
    with pytest.raises(StoreUnavailable):
        audit(job.spec)


def test_failed__time_limit_keeps_what_was_found_by_then(any_cache: str, source: Any) -> None:
    class TimeIsUp(Exception): ...

    batches: list[int] = []

    def loader(ids: Sequence[int]) -> Mapping[int, Any]:
        batches.append(len(ids))
        if len(batches) == 2:
            raise TimeIsUp("soon")
        return {id: source[id] for id in ids}

    job = warm_many("thing:{id}", ids=lambda: range(10), name="things", batch_size=4)(loader)
    found = audit(job.spec, interrupts=(TimeIsUp,))
    assert (counts(found), found.error, found.whole) == ({"missing": 4}, "TimeIsUp: soon", False)
    assert not found.ok
