"""What an audit calls right, wrong, missing and absent, and what it says of a value."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.core.cache import cache
from redis import Redis

from tests.package.monitoring.audit.conftest import counts, declare, wrong_fields
from tests.support.commands import execute
from warmer import jobs, warm, warm_many
from warmer.exceptions import LoaderError
from warmer.models import CacheAudit, Trigger
from warmer.monitoring.audit import audit, perform
from warmer.monitoring.comparison import HAS_VALUE, NO_VALUE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.mark.parametrize(
    ("warmed", "verdicts", "share"),
    [
        (range(10), {"right": 10}, "100 %"),
        ([1, 2], {"right": 2, "missing": 8}, "100 %"),
        ([], {"missing": 10}, "nothing judged"),
    ],
)
def test_audit__what_is_not_cached_is_missing_and_not_wrong(
    job: Any, warmed: Sequence[int], verdicts: dict[str, int], share: str
) -> None:
    job.warm(warmed)
    found = audit(job.spec)
    assert counts(found) == verdicts
    assert (found.ok, found.whole, found.share) == (True, True, share)


def test_audit__old_value_is_wrong_and_its_fields_are_named(job: Any, source: Any) -> None:
    job.warm()
    source[3] = {"id": 3, "name": "another", "tags": []}
    source[8] = None
    found = audit(job.spec)
    assert counts(found) == {"right": 8, "wrong": 2}
    assert wrong_fields(found) == {"thing:3": ("name", "tags (new)"), "thing:8": (NO_VALUE,)}
    assert (found.ok, found.share) == (False, "80 %")


def test_audit__missing_value_that_cannot_be_cached_has_failed(job: Any, source: Any) -> None:
    source[3] = {"name": lambda: "no plain data"}
    found = audit(job.spec)
    assert counts(found) == {"missing": 9, "failed": 1}
    (failure,) = found.failures
    assert failure["key"] == "thing:3"
    assert failure["error"].startswith("its value cannot be compared: ")
    assert execute("cache_audit", "things").status == 1


def test_audit__neither_cached_nor_loaded_is_absent(job: Any, source: Any) -> None:
    job.warm()
    cache.delete("thing:4")
    source[4] = None
    cache.set("thing:5", None)
    source[5] = None
    assert counts(audit(job.spec)) == {"right": 8, "no_value": 2}


def test_audit__cached_absence_is_wrong_once_there_is_a_value(any_cache: str, source: Any) -> None:
    job = declare(source, negative_timeout=timedelta(minutes=5))
    value, source[4] = source[4], None
    job.warm()
    assert counts(audit(job.spec)) == {"right": 9, "no_value": 1}
    source[4] = value
    found = audit(job.spec, repair=True)
    assert (counts(found), wrong_fields(found)) == ({"right": 9, "wrong": 1}, {"thing:4": (HAS_VALUE,)})
    assert job.get(4) == value
    assert counts(audit(job.spec)) == {"right": 10}


@pytest.mark.parametrize("cached", [41, "42", None, {"a": 1}])
def test_audit__single_job(any_cache: str, cached: Any) -> None:
    answer = warm("answer", name="answer")(lambda: 42)
    assert counts(audit(answer.spec)) == {"missing": 1}
    answer.warm()
    assert counts(audit(answer.spec)) == {"right": 1}
    cache.set("answer", cached)
    assert counts(audit(answer.spec, sample=5)) == {"wrong": 1}


VALUES = {
    "tuple": (1, (2, 3)),
    "keys": {1: "one", "nested": {2: ("two",)}},
    "datetime": {"at": datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)},
    "decimal": Decimal("1.50"),
    "uuid": UUID(int=7),
    "number": 7,
    "float": 7.0,
    "bool": True,
    "text": "7",
    "empty": {},
}


@pytest.mark.parametrize("name", VALUES)
def test_audit__what_the_cache_makes_of_a_value_is_not_wrong(any_cache: str, name: str) -> None:
    job = warm("value", name="value")(lambda: VALUES[name])
    assert job.warm().written == 1
    found = audit(job.spec)
    assert (counts(found), wrong_fields(found)) == ({"right": 1}, {})


def test_audit__writes_nothing(source: Any, redis_client: Redis) -> None:
    def dump() -> dict[bytes, Any]:
        names = [name for name in redis_client.scan_iter() if b"fence" not in name]
        return {name: redis_client.get(name) for name in names}

    job = declare(source)
    job.warm([1, 2, 3])
    source[2] = "another"
    before = dump()
    audit(job.spec)
    assert dump() == before


def test_repair__invalidates_the_wrong_keys_and_no_others(job: Any, source: Any) -> None:
    job.warm()
    token = job.spec.store.token([])
    for number in (2, 3, 9):
        source[number] = "another"
    found = audit(job.spec, repair=True)
    assert (found.wrong, found.repaired, found.ok) == (3, 3, False)
    cached = cache.get_many([f"thing:{number}" for number in range(10)])
    assert sorted(cached) == [f"thing:{number}" for number in (0, 1, 4, 5, 6, 7, 8)]
    job.spec.store.write(token, {"thing:2": "old"})
    assert cache.get("thing:2") is None, "the repair is fenced"
    assert counts(audit(job.spec, repair=True)) == {"right": 7, "missing": 3}


def test_repair__deletes_a_value_that_is_gone(job: Any, source: Any) -> None:
    job.warm()
    del source[2]
    found = audit(job.spec, repair=True)
    lists_keys = job.spec.store.lists_keys  # otherwise the key of an undeclared id is not found
    assert (found.sampled, found.repaired) == ((10, 1) if lists_keys else (9, 0))
    assert (cache.get("thing:2") is None) == lists_keys


def test_perform__saves_the_result(job: Any, source: Any, django_assert_num_queries: Any) -> None:
    job.warm()
    source[2] = "another"
    perform(job.spec, Trigger.SCHEDULE)
    found = perform(job.spec, Trigger.COMMAND, sample=10)
    with django_assert_num_queries(1):
        row = CacheAudit.objects.latest_per_job(jobs)["things"]
    assert (row.pk, row.trigger, row.share) == (found.pk, "command", found.share)
    assert (counts(row), wrong_fields(row)) == ({"right": 9, "wrong": 1}, {"thing:2": ("(dict, now str)",)})
    assert row.started_at < row.finished_at


@pytest.mark.parametrize("bad", [{0}, {9}, {3, 4}, set(range(10))])
def test_failed__bad_rows_cost_their_own_keys_only(any_cache: str, source: Any, bad: set[int]) -> None:
    class Rows(dict[int, Any]):
        def __getitem__(self, id: int) -> Any:
            if id in broken:
                raise ValueError(f"row {id} is broken")
            return super().__getitem__(id)

    broken: set[int] = set()
    job = declare(Rows(source))
    job.warm()
    broken |= bad
    found = audit(job.spec)
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


def test_failed__what_cannot_be_an_id(any_cache: str) -> None:
    found = audit(declare({1: "one", "a b": "bad", 2: "two"}).spec)
    assert counts(found) == {"missing": 2, "failed": 1}
    assert "'a b'" in found.failures[0]["key"]


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
