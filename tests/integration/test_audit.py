"""Audits: what they call right, wrong and missing, what they cost, and how they are shown and scheduled."""

from __future__ import annotations

import gc
import io
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask
from redis import Redis

from embedded.redis_server import RedisServer
from users.models import CustomUser
from users.warming import user_profiles
from warmer import LoaderError, StoreUnavailable, auditing, jobs, schedule, warm, warm_many
from warmer.auditing import Audit, UncommittedChanges, audits, keeping, looks
from warmer.auditing.audits import audit
from warmer.auditing.findings import WrongKey
from warmer.auditing.looks import HAS_VALUE, NO_VALUE
from warmer.models import CacheAudit, JobSchedule, Trigger
from warmer.tasks import audit_sample
from warmer.testing import at, hold

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

LOCMEM = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "audit"}}


@pytest.fixture(params=["redis", "locmem"])
def any_cache(request: pytest.FixtureRequest, settings: Any) -> Iterator[str]:
    """Run a test on Redis, and once more on a cache behind Django's interface alone."""
    if request.param == "redis":
        yield "redis"
        return
    settings.CACHES = LOCMEM
    cache.clear()
    yield "locmem"
    cache.clear()


@pytest.fixture
def source() -> dict[Any, Any]:
    """What the loader of `job` gives: ten things."""
    return {number: {"id": number, "name": f"thing {number}"} for number in range(10)}


@pytest.fixture
def job(any_cache: str, source: dict[Any, Any]) -> Any:
    return declare(source)


def declare(source: Mapping[Any, Any], **options: Any) -> Any:
    options = {"ids": lambda: list(source), "name": "things", "batch_size": 4} | options

    @warm_many("thing:{id}", **options)
    def things(ids: Sequence[Any]) -> Mapping[Any, Any]:
        return {id: source[id] for id in ids if id in source}

    return things


def counts(found: Audit) -> dict[str, int]:
    """Return the verdicts that occurred, and see that they add up."""
    occurred = {
        name: getattr(found, name) for name in ("right", "wrong", "missing", "absent", "changed", "failed")
    }
    assert sum(occurred.values()) == found.sampled
    return {name: number for name, number in occurred.items() if number}


def wrong_fields(found: Audit) -> dict[str, tuple[str, ...]]:
    return {each.key: each.fields for each in found.wrong_keys}


# -- what is right, wrong and missing ---------------------------------------------------------------


def test_audit__everything_is_as_the_loader_gives_it(job: Any) -> None:
    job.warm()
    found = audit(job.spec)
    assert counts(found) == {"right": 10}
    assert (found.ok, found.whole, found.share, found.batches) == (True, True, "100 %", 3)


def test_audit__old_value_is_wrong_and_its_fields_are_named(job: Any, source: Any) -> None:
    job.warm()
    source[3] = {"id": 3, "name": "another", "tags": []}
    source[8] = None
    found = audit(job.spec)
    assert counts(found) == {"right": 8, "wrong": 2}
    assert wrong_fields(found) == {"thing:3": ("name", "tags (new)"), "thing:8": (NO_VALUE,)}
    assert (found.ok, found.share) == (False, "80 %")


def test_audit__value_of_a_row_that_is_gone_is_wrong(make_user: Any) -> None:
    user, gone = make_user(), make_user()
    user_profiles.get_many([user.pk, gone.pk])
    CustomUser.objects.filter(pk=gone.pk)._raw_delete("default")
    found = audit(user_profiles.spec)
    assert wrong_fields(found) == {f"user:{gone.pk}:profile": (NO_VALUE,)}
    assert counts(found) == {"right": 1, "wrong": 1}


def test_audit__missing_value_that_cannot_be_cached_has_failed(job: Any, source: Any) -> None:
    source[3] = {"name": lambda: "no plain data"}
    found = audit(job.spec)
    assert counts(found) == {"missing": 9, "failed": 1}
    (failure,) = found.failures
    assert failure.key == "thing:3"
    assert failure.error.startswith("its value cannot be encoded: ")
    with pytest.raises(CommandError) as caught:
        run("things")
    assert caught.value.returncode == 1


def test_audit__what_is_not_cached_is_missing_and_not_wrong(job: Any) -> None:
    job.warm([1, 2])
    found = audit(job.spec)
    assert counts(found) == {"right": 2, "missing": 8}
    assert (found.ok, found.share) == (True, "100 %")


def test_audit__neither_cached_nor_loaded_is_absent(job: Any, source: Any) -> None:
    job.warm()
    cache.delete("thing:4")
    source[4] = None
    cache.set("thing:5", None)
    source[5] = None
    assert counts(audit(job.spec)) == {"right": 8, "absent": 2}


def test_audit__cached_absence_is_wrong_once_there_is_a_value(any_cache: str, source: Any) -> None:
    job = declare(source, cache_absent=timedelta(minutes=5))
    value, source[4] = source[4], None
    job.warm()
    assert counts(audit(job.spec)) == {"right": 9, "absent": 1}
    source[4] = value
    found = audit(job.spec, repair=True)
    assert (counts(found), wrong_fields(found)) == ({"right": 9, "wrong": 1}, {"thing:4": (HAS_VALUE,)})
    assert job.get(4) == value
    assert counts(audit(job.spec)) == {"right": 10}


def test_audit__nothing_cached_is_nothing_judged(job: Any) -> None:
    found = audit(job.spec)
    assert counts(found) == {"missing": 10}
    assert (found.ok, found.share, found.right_at_least) == (True, "nothing judged", None)


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


def test_audit__django_redis_with_pickle_and_djangos_own_backend(settings: Any) -> None:
    location = settings.CACHES["default"]["LOCATION"]
    for backend in ("django_redis.cache.RedisCache", "django.core.cache.backends.redis.RedisCache"):
        with override_settings(CACHES={"default": {"BACKEND": backend, "LOCATION": location}}):
            cache.clear()
            job = declare(VALUES)
            assert job.warm().written == len(VALUES)
            assert counts(audit(job.spec)) == {"right": len(VALUES)}
            cache.set("thing:number", True)
            assert wrong_fields(audit(job.spec)) == {"thing:number": ("(bool, now int)",)}
        jobs.unregister("things")


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


# -- what changes meanwhile -------------------------------------------------------------------------


def test_changed__once_while_it_was_loaded_is_judged_at_the_next_look(job: Any, source: Any) -> None:
    job.warm()

    def change() -> None:
        source[2] = "another"
        job.invalidate([2])

    with at("loaded", change):
        found = audit(job.spec)
    assert counts(found) == {"right": 9, "missing": 1}


def test_changed__between_read_and_load_and_warmed_again_is_right(job: Any, source: Any) -> None:
    job.warm()

    def change() -> None:
        source[2] = "another"
        job.invalidate([2])
        job.warm([2])

    with at("loaded", change):
        found = audit(job.spec)
    assert counts(found) == {"right": 10}


def test_changed__at_every_look_is_not_judged(job: Any, source: Any, settings: Any, any_cache: str) -> None:
    job.warm()
    numbers = iter(range(100))

    def change() -> None:
        source[2] = next(numbers)
        job.invalidate([2])
        cache.set("thing:2", "old")

    with at("loaded", change, times=4):
        found = audit(job.spec)
    # Without a fence for each key, the other three of the batch are not judged either.
    changed = 1 if any_cache == "redis" else 4
    assert counts(found) == {"right": 10 - changed, "changed": changed}
    assert (found.ok, found.wrong_keys) == (True, ())


def test_changed__looks_are_bounded(
    any_cache: str, source: Any, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.WARMER_FENCE_ATTEMPTS = 3
    job = declare(source, batch_size=10)
    pauses: list[float] = []
    monkeypatch.setattr(looks, "time", SimpleNamespace(sleep=pauses.append))
    loads: list[int] = []
    with at("loaded", lambda: (loads.append(1), job.invalidate([1])), times=100):
        found = audit(job.spec, sample=10)
    assert (len(loads), len(pauses), found.queries) == (3, 2, 0)
    assert found.changed == (1 if any_cache == "redis" else 10)


def test_changed__commit_whose_invalidation_is_on_its_way_is_not_wrong(
    make_user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = make_user(first_name="Ada")
    user_profiles.warm()
    clock = SimpleNamespace(sleep=lambda seconds: release())
    monkeypatch.setattr(looks, "time", clock)

    def save() -> None:
        try:
            user.first_name = "Grace"
            user.save()
        finally:
            connection.close()

    def release() -> None:
        point.release()
        thread.join()

    thread = threading.Thread(target=save)
    with hold("committed") as point:
        thread.start()
        point.wait()
        # In the database it is Grace, in the cache Ada, and the fence does not know yet.
        found = audit(user_profiles.spec)
    thread.join()
    assert counts(found) == {"missing": 1}


def test_changed__wrong_for_the_first_time_at_a_later_look_is_looked_at_again(
    any_cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = iter(["new", "other", "new"])
    job = warm("answer", name="answer")(lambda: next(loaded))
    cache.set("answer", "new")

    def invalidate() -> None:
        job.invalidate()
        cache.set("answer", "new")

    # The first look is overtaken, the second comes between a commit and its invalidation.
    with at("loaded", invalidate):
        found = audit(job.spec)
    assert counts(found) == {"right": 1}


def test_changed__what_is_still_wrong_at_the_next_look_is_wrong(
    job: Any, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.warm()
    source[2] = "another"
    asked: list[Sequence[str]] = []
    look = type(job.spec.store).look
    monkeypatch.setattr(
        type(job.spec.store), "look", lambda self, keys: asked.append(list(keys)) or look(self, keys)
    )
    assert counts(audit(job.spec, sample=10, seed=1)) == {"right": 9, "wrong": 1}
    # Four reads for the key: twice at each of two looks; the second look is for this key alone.
    assert sum(keys == ["thing:2"] for keys in asked) == 3
    assert sum("thing:2" in keys for keys in asked) == 4


def test_changed__with_a_single_attempt_wrong_is_wrong_all_the_same(
    job: Any, source: Any, settings: Any
) -> None:
    settings.WARMER_FENCE_ATTEMPTS = 1
    job.warm()
    source[2] = "another"
    assert counts(audit(job.spec)) == {"right": 9, "wrong": 1}


@pytest.mark.parametrize(
    ("meanwhile", "verdict"),
    [
        (lambda: cache.delete("thing:2"), "missing"),
        (lambda: cache.set("thing:2", "another"), "right"),
        (lambda: cache.set("thing:2", "a third"), "wrong"),
    ],
)
@pytest.mark.parametrize("cached", ["old", None])
def test_changed__expired_or_filled_between_read_and_load(
    any_cache: str, source: Any, meanwhile: Callable[[], None], verdict: str, cached: Any
) -> None:
    source[2] = "another"

    def loader(ids: Sequence[int]) -> Mapping[int, Any]:
        meanwhile()
        return {id: source[id] for id in ids}

    job = warm_many("thing:{id}", ids=lambda: [2], name="things")(loader)
    if cached is not None:
        cache.set("thing:2", cached)
    assert counts(audit(job.spec)) == {verdict: 1}


def test_changed__fence_that_was_lost_meanwhile_is_looked_at_again(job: Any, any_cache: str) -> None:
    job.warm()
    with at("loaded", cache.clear):
        found = audit(job.spec)
    assert counts(found) == {"missing": 10}


def test_transaction__that_changed_something_is_refused(make_user: Any) -> None:
    user = make_user()
    user_profiles.warm()
    with transaction.atomic():
        user.first_name = "Grace"
        user.save()
        with pytest.raises(UncommittedChanges, match="this transaction changed what it reads"):
            audit(user_profiles.spec)
        error = failing("user_profiles")
    assert error.returncode == 1
    assert "Audit after the commit" in str(error)
    assert counts(audit(user_profiles.spec)) == {"missing": 1}


def test_transaction__with_a_snapshot_is_refused(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "reads_a_snapshot", lambda: True)
    with pytest.raises(UncommittedChanges, match="as it was at its beginning"):
        audit(job.spec)


# -- repair -----------------------------------------------------------------------------------------


def test_repair__invalidates_what_is_wrong_and_nothing_else(job: Any, source: Any) -> None:
    job.warm()
    for number in (2, 3, 9):
        source[number] = "another"
    found = audit(job.spec, repair=True)
    assert (found.wrong, found.repaired, found.ok) == (3, 3, False)
    assert sorted(cache.get_many([f"thing:{number}" for number in range(10)])) == [
        f"thing:{number}" for number in (0, 1, 4, 5, 6, 7, 8)
    ]
    assert counts(audit(job.spec, repair=True)) == {"right": 7, "missing": 3}


def test_repair__is_fenced(job: Any, source: Any) -> None:
    job.warm()
    token = job.spec.store.token()
    source[2] = "another"
    audit(job.spec, repair=True)
    job.spec.store.write(token, {"thing:2": "old"})
    assert cache.get("thing:2") is None


def test_repair__of_a_single_job(any_cache: str) -> None:
    answer = warm("answer", name="answer")(lambda: 42)
    cache.set("answer", 41)
    assert audit(answer.spec, repair=True).repaired == 1
    assert cache.get("answer") is None


def test_repair__deletes_what_has_no_value_any_more(job: Any, source: Any) -> None:
    job.warm()
    del source[2]
    found = audit(job.spec, repair=True)
    if found.sampled == 10:  # on Redis the key of an id that is no longer declared is found, too
        assert found.repaired == 1
        assert cache.get("thing:2") is None


# -- which keys -------------------------------------------------------------------------------------


def test_sample__looks_at_so_many_declared_ids(job: Any) -> None:
    job.warm()
    found = audit(job.spec, sample=6)
    assert counts(found) == {"right": 6}
    assert (found.whole, found.batches, found.share) == (False, 2, "at least 50 %")


def test_sample__same_seed_looks_at_the_same(any_cache: str) -> None:
    loaded: list[int] = []

    def loader(ids: Sequence[int]) -> Mapping[int, int]:
        loaded.extend(ids)
        return dict.fromkeys(ids, 1)

    job = warm_many("thing:{id}", ids=lambda: range(1000), name="things")(loader)

    def draw(seed: int) -> list[int]:
        loaded.clear()
        audit(job.spec, sample=20, seed=seed)
        return list(loaded)

    assert draw(1) == draw(1) != draw(2)
    assert len(set(draw(3))) == 20


@pytest.mark.parametrize("size", [10, 11])
def test_sample__as_large_as_all_is_all(job: Any, size: int) -> None:
    job.warm()
    found = audit(job.spec, sample=size)
    assert (found.whole, found.sampled, found.share) == (True, 10, "100 %")


@pytest.mark.parametrize(
    ("right", "wrong", "whole", "share"),
    [
        (1000, 0, False, "at least 99.7 %"),
        (3000, 0, False, "at least 99.9 %"),
        (999, 1, False, "at least 99.5 %"),
        (3, 0, False, "too few to tell"),
        (1000, 0, True, "100 %"),
        (999, 1, True, "99.9 %"),
        (0, 5, True, "0 %"),
        (0, 0, False, "nothing judged"),
    ],
)
def test_share__has_no_more_digits_than_is_known(right: int, wrong: int, whole: bool, share: str) -> None:
    assert Audit(job="x", right=right, wrong=wrong, whole=whole).share == share


NUMBERS = dict.fromkeys([1, 2, 3, 40, 50], "value")


@pytest.mark.parametrize("as_id", [int, str, lambda number: UUID(int=number)])
def test_read_through__keys_beyond_the_declared_ids_are_audited(as_id: Callable[[int], Any]) -> None:
    source = {as_id(number): value for number, value in NUMBERS.items()}
    job = declare(source, ids=lambda: [as_id(number) for number in (1, 2, 3)])
    job.warm()
    job.get_many([as_id(40), as_id(50)])
    source[as_id(50)] = "another"
    found = audit(job.spec)
    assert counts(found) == {"right": 4, "wrong": 1}
    assert wrong_fields(found) == {job.key(as_id(50)): ("str",)}
    assert (found.undeclared, found.note) == (2, "")


def test_read_through__ids_reach_the_loader_in_their_type() -> None:
    loaded: list[Any] = []

    def loader(ids: Sequence[int]) -> Mapping[int, int]:
        loaded.extend(ids)
        return {id: id * 2 for id in ids}

    job = warm_many("thing:{id}", ids=lambda: [1], name="things")(loader)
    job.get(42)
    loaded.clear()
    assert counts(audit(job.spec)) == {"missing": 1, "right": 1}
    assert [(type(id), id) for id in loaded] == [(int, 1), (int, 42)]


def test_read_through__keys_of_others_are_left_alone() -> None:
    job = declare(dict(NUMBERS), ids=lambda: [1, 2])
    job.warm()
    others = ("thing:one", "thing:a:b", "thing:01", "thing:+2", "thing:٣", "thing:", "thing:8 ", "things:8")
    for key in others:
        cache.set(key, "of another", version=None)
    cache.set("thing:40", "value", version=7)
    found = audit(job.spec, repair=True)
    assert counts(found) == {"right": 2}
    assert all(cache.get(key) == "of another" for key in others)


def test_read_through__gone_meanwhile_is_not_missing() -> None:
    job = declare(dict(NUMBERS), ids=lambda: [1])
    job.get_many([1, 40, 50])
    # Before the batch of declared ids nothing; before that of the others, which were listed by then:
    steps = iter([lambda: None, lambda: cache.delete("thing:40")])
    with at("token_taken", lambda: next(steps)(), times=2):
        found = audit(job.spec)
    assert (counts(found), found.undeclared) == ({"right": 2}, 1)


def test_read_through__glob_characters_in_the_key_are_no_pattern(source: Any) -> None:
    job = warm_many("[ab]?:{id}*", ids=lambda: [1], name="globs")(lambda ids: dict.fromkeys(ids, 1))
    job.get_many([1, 2])
    cache.set("ax:3*", "of another")
    cache.set("[ab]?:4x", "of another")
    found = audit(job.spec)
    assert (counts(found), found.undeclared) == ({"right": 2}, 1)


@pytest.mark.parametrize("ids", [[], [1, "a"]])
def test_read_through__ids_of_unknown_type_are_not_looked_at_and_it_says_so(ids: list[Any]) -> None:
    source = {1: "one", "a": "A", 40: "old"}
    job = declare(source, ids=lambda: ids)
    job.get_many([1, "a", 40])
    source[40] = "new"
    found = audit(job.spec)
    assert (found.sampled, found.wrong, found.undeclared) == (len(ids), 0, 0)
    assert "the type of another cached id is not known" in found.note
    assert "Only the declared ids were looked at" in run("things")


def test_read_through__of_a_cache_that_cannot_list_its_keys(source: Any) -> None:
    with override_settings(CACHES=LOCMEM):
        cache.clear()
        job = declare(source, ids=lambda: [1])
        job.get_many([1, 2])
        found = audit(job.spec)
        assert found.sampled == 1
        assert "this cache cannot list its keys" in found.note
        cache.clear()


# -- what fails -------------------------------------------------------------------------------------


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
    assert {each.key: each.error for each in found.failures} == {
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
    assert found.failures[0].error.startswith(LoaderError.__name__)


def test_failed__value_that_cannot_be_cached(any_cache: str) -> None:
    value: dict[str, Any] = {"x": threading.Lock()}
    job = warm("x", name="x")(lambda: value)
    cache.set("x", "old")
    found = audit(job.spec)
    assert counts(found) == {"failed": 1}
    kind = "UnsupportedValue" if any_cache == "redis" else "TypeError"
    assert found.failures[0].error.startswith(f"its value cannot be encoded: {kind}")


def test_failed__what_cannot_be_an_id(job: Any) -> None:
    jobs.unregister("things")
    bad = warm_many("thing:{id}", ids=lambda: [1, "a b", 2], name="things")(lambda ids: dict.fromkeys(ids, 1))
    found = audit(bad.spec)
    assert counts(found) == {"missing": 2, "failed": 1}
    assert "'a b'" in found.failures[0].key


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


# -- what it costs ----------------------------------------------------------------------------------


def test_cost__queries_are_batches_and_one_for_the_ids(make_user: Any) -> None:
    for _ in range(10):
        make_user()

    @warm_many("name:{id}", ids=lambda: list(CustomUser.objects.values_list("id", flat=True)), batch_size=4)
    def names(ids: Sequence[int]) -> Mapping[int, str]:
        return dict(CustomUser.objects.filter(id__in=ids).values_list("id", "username"))

    names.warm()
    for options in ({}, {"sample": 10}):
        with CaptureQueriesContext(connection) as queries:
            found = audit(names.spec, **options)
        assert (found.right, found.batches, found.queries, len(queries)) == (10, 3, 4, 4)


def test_cost__round_trips_are_three_a_batch(source: Any, redis_client: Redis) -> None:
    job = declare(source, batch_size=5)
    job.warm()

    def calls() -> dict[str, int]:
        stats: Any = redis_client.info("commandstats")
        return {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}

    audit(job.spec)  # the scripts are known to the server from here on
    before = calls()
    audit(job.spec, sample=10)
    after = calls()
    spent = {name: after[name] - before.get(name, 0) for name in after}
    assert (spent["evalsha"], spent["mget"]) == (2 * 2, 2)


def test_cost__memory_is_that_of_a_batch(settings: Any) -> None:
    # What counts its instances is no plain data; JSON takes it all the same.
    with_json = deepcopy(settings.CACHES)
    with_json["default"]["OPTIONS"]["SERIALIZER"] = "django_redis.serializers.json.JSONSerializer"
    settings.CACHES = with_json
    alive = most = 0

    class Id(int):
        def __new__(cls, number: int) -> Id:
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            return super().__new__(cls, number)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    class Value(dict[str, int]):
        def __init__(self, number: int) -> None:
            nonlocal alive, most
            super().__init__(number=number)
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    job = warm_many(
        "thing:{id}", ids=lambda: (Id(number) for number in range(100_000)), name="things", batch_size=1000
    )(lambda ids: {id: Value(id) for id in ids})
    job.warm()
    gc.collect()
    alive = most = 0
    found = audit(job.spec)
    assert (counts(found), found.batches, found.undeclared) == ({"right": 100_000}, 100, 0)
    # Ids and values of a batch, and those of the one before until they are replaced.
    assert most <= 4 * 1000 + 10
    most = 0
    found = audit(job.spec, sample=500)
    assert (counts(found), most <= 3 * 500 + 10) == ({"right": 500}, True)


def test_cost__names_are_bounded_and_counts_are_not(source: Any, settings: Any) -> None:
    settings.WARMER_REPORTED_FAILURES = 3
    job = declare(source)
    job.warm()
    source.update(dict.fromkeys(range(10), "another"))
    found = audit(job.spec)
    assert (found.wrong, len(found.wrong_keys)) == (10, 3)


# -- what is kept -----------------------------------------------------------------------------------


def test_kept__is_what_was_found(job: Any, source: Any) -> None:
    job.warm()
    source[2] = "another"
    found = auditing.perform(job.spec, Trigger.COMMAND, sample=10)
    row = CacheAudit.objects.get()
    assert (row.job, row.trigger, row.right, row.wrong) == ("things", "command", 9, 1)
    assert row.wrong_keys == [{"key": "thing:2", "fields": ["(dict, now str)"]}]
    assert row.started_at < row.finished_at
    again = auditing.kept(row)
    assert again.wrong_keys == (WrongKey(key="thing:2", fields=("(dict, now str)",)),)
    assert (counts(again), again.share, again.whole) == (counts(found), found.share, found.whole)


def test_kept__oldest_are_forgotten(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "KEPT_PER_JOB", 3)
    other = warm("other", name="other")(lambda: 1)
    auditing.perform(other.spec, Trigger.COMMAND)
    for _ in range(5):
        auditing.perform(job.spec, Trigger.COMMAND)
    pks = list(CacheAudit.objects.filter(job="things").values_list("pk", flat=True))
    assert (len(pks), pks) == (3, sorted(pks, reverse=True))
    assert CacheAudit.objects.filter(job="other").count() == 1


def test_last_audits__are_found_in_one_query(job: Any, django_assert_num_queries: Any) -> None:
    for _ in range(2):
        auditing.perform(job.spec, Trigger.COMMAND)
    job.warm()
    auditing.perform(job.spec, Trigger.SCHEDULE)
    with django_assert_num_queries(1):
        last = auditing.last_audits(jobs)
    assert {name: row.right for name, row in last.items()} == {"things": 10}


# -- the command ------------------------------------------------------------------------------------


def run(*args: str) -> str:
    out = io.StringIO()
    call_command("audit_cache", *args, stdout=out, stderr=out)
    return out.getvalue()


def failing(*args: str, out: io.StringIO | None = None) -> CommandError:
    out = io.StringIO() if out is None else out
    with pytest.raises(CommandError) as caught:
        call_command("audit_cache", *args, stdout=out, stderr=out)
    return caught.value


def test_command__audits_every_job_and_prints_a_table(make_user: Any, make_post: Any) -> None:
    make_post(author=make_user())
    call_command("warm_cache", "--inline", stdout=io.StringIO())
    lines = run().splitlines()
    rows = {line.split()[0]: line.split() for line in lines[2:]}
    assert lines[0].split()[:4] == ["job", "sampled", "right", "wrong"]
    assert set(rows) == set(jobs)
    assert rows["user_profiles"][1:4] == ["1", "1", "0"]
    assert rows["user_profiles"][-2:] == ["100", "%"]
    assert {row.trigger for row in CacheAudit.objects.all()} == {"command"}


def test_command__wrong_is_1_and_names_keys_and_fields(job: Any, source: Any, settings: Any) -> None:
    settings.WARMER_REPORTED_FAILURES = 2
    job.warm()
    for number in (1, 2, 3):
        source[number] = source[number] | {"name": "another"}
    out = io.StringIO()
    error = failing("things", out=out)
    assert (error.returncode, str(error)) == (1, "Wrong: 3 keys of things.")
    assert "things, wrong:\n  thing:1: name\n  thing:2: name\n  and 1 more\n" in out.getvalue()


def test_command__repaired_is_1_too_and_then_0(job: Any, source: Any) -> None:
    job.warm()
    source[2] = "another"
    out = io.StringIO()
    error = failing("things", "--repair", out=out)
    assert error.returncode == 1
    assert "Invalidated: 1 key" in str(error)
    assert "repaired" in out.getvalue()
    assert cache.get("thing:2") is None
    assert CacheAudit.objects.get().repaired == 1
    run("things", "--repair")


def test_command__missing_is_0(job: Any) -> None:
    assert "missing" in run("things")


def test_command__json_is_all_that_is_printed(job: Any, source: Any) -> None:
    job.warm()
    printed = json.loads(run("things", "--json"))
    assert (printed["status"], printed["jobs"][0]["right"], printed["jobs"][0]["share"]) == (0, 10, "100 %")
    source[2] = {"id": 2, "name": "another"}
    out = io.StringIO()
    error = failing("things", "--json", "--sample", "10", out=out)
    printed = json.loads(out.getvalue())
    (of_job,) = printed["jobs"]
    assert (error.returncode, printed["status"]) == (1, 1)
    assert of_job["wrong_keys"] == [{"key": "thing:2", "fields": ["name"]}]
    assert of_job["right_at_least"] == pytest.approx(0.9)


def test_command__sample_and_seed(job: Any) -> None:
    job.warm()
    out = run("things", "--sample", "5", "--seed", "7")
    assert "'at least' is at 95 % confidence" in out
    assert CacheAudit.objects.get().sampled == 5


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["thing"], "Did you mean things?"),
        (["things", "--seed", "1"], "--seed needs --sample"),
    ],
)
def test_command__usage_is_2(job: Any, args: list[str], message: str) -> None:
    error = failing(*args)
    assert (error.returncode, message in str(error)) == (2, True)
    assert not CacheAudit.objects.exists()


@pytest.mark.parametrize("size", ["0", "-1", "many"])
def test_command__sample_is_refused_by_the_parser(job: Any, size: str) -> None:
    assert "is not a number of keys above 0" in str(failing("things", "--sample", size))


def test_command__cache_down_is_1_with_one_clear_line(redis_server: RedisServer) -> None:
    redis_server.stop()
    out = io.StringIO()
    error = failing(out=out)
    assert (error.returncode, str(error).count("\n"), out.getvalue()) == (1, 0, "")
    assert "The cache 'default' at 127.0.0.1" in str(error)
    assert str(error).endswith("The audit was not finished.")


def test_command__database_down_is_1_with_one_clear_line(any_cache: str) -> None:
    def ids() -> list[int]:
        raise OperationalError("connection to postgres://warmer:secret@db/0 failed\nIs the server running?")

    warm_many("thing:{id}", ids=ids, name="things")(dict)
    error = failing("things")
    assert (error.returncode, str(error).count("\n")) == (1, 0)
    assert str(error).startswith("The database does not serve: OperationalError")
    assert "secret" not in str(error)


def test_command__failed_is_1_and_is_named(any_cache: str) -> None:
    def loader(ids: Sequence[int]) -> Mapping[int, Any]:
        raise ValueError("broken")

    warm_many("thing:{id}", ids=lambda: [1], name="things")(loader)
    out = io.StringIO()
    error = failing("things", out=out)
    assert (error.returncode, str(error)) == (1, "Not judged in full: things.")
    assert "thing:1: ValueError: broken" in out.getvalue()


def test_command__ids_that_cannot_be_found_do_not_stop_the_other_jobs(job: Any) -> None:
    def ids() -> list[int]:
        raise ValueError("no ids")

    warm_many("aaa:{id}", ids=ids, name="aaa")(dict)
    job.warm()
    out = io.StringIO()
    error = failing("aaa", "things", out=out)
    assert error.returncode == 1
    assert "aaa: The ids could not be found: ValueError: no ids" in out.getvalue()
    assert {row.job: (row.right, row.whole) for row in CacheAudit.objects.all()} == {
        "aaa": (0, False),
        "things": (10, True),
    }


def test_command__without_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_jobs", {})
    assert "No job is declared" in run()


def test_command__shows_its_progress_on_a_terminal(job: Any) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    call_command("audit_cache", "things", stdout=out)
    assert "things: 4 keys, 0 wrong" in out.getvalue()
    assert "\r" not in run("things")


def test_secrecy__values_are_shown_nowhere(
    make_user: Any, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    settings.WARMER_AUDIT_SAMPLE = 100
    user = make_user(first_name="Hunter2Old", bio="Hunter2Old")
    user_profiles.warm()
    CustomUser.objects.filter(pk=user.pk).update(first_name="Hunter2New", bio="Hunter2New")
    out = io.StringIO()
    with caplog.at_level(logging.DEBUG):
        errors = [str(failing(*args, out=out)) for args in (["user_profiles"], ["user_profiles", "--json"])]
        audit_sample()
    rows = json.dumps(list(CacheAudit.objects.values()), default=str)
    shown = "".join([out.getvalue(), *errors, caplog.text, rows])
    assert "first_name" in out.getvalue()
    assert "first_name" in caplog.text
    assert "first_name" in rows
    assert "Hunter2" not in shown


# -- the scheduled audit ----------------------------------------------------------------------------


def entry() -> PeriodicTask | None:
    return PeriodicTask.objects.filter(task="warmer.audit_sample").select_related("interval").first()


def test_schedule__is_off_until_it_is_turned_on(settings: Any) -> None:
    schedule.sync()
    assert entry() is None
    settings.WARMER_AUDIT_SAMPLE = 50
    schedule.sync()
    task = entry()
    assert task is not None
    assert (task.interval.every, task.interval.period, task.expire_seconds) == (1, "hours", 3600)
    assert (task.enabled, task.queue, task.args) == (True, "warming", "[]")
    settings.WARMER_AUDIT_SAMPLE = 0
    schedule.sync()
    assert entry() is None
    assert not JobSchedule.objects.filter(job=schedule.AUDIT).exists()


def test_schedule__again_changes_nothing(settings: Any) -> None:
    settings.WARMER_AUDIT_SAMPLE = 50
    schedule.sync()
    before = list(PeriodicTask.objects.order_by("id").values())
    assert {synced.job for synced in schedule.sync()} == set(jobs)
    assert list(PeriodicTask.objects.order_by("id").values()) == before


def test_schedule__operators_edit_stays(settings: Any) -> None:
    settings.WARMER_AUDIT_SAMPLE = 50
    schedule.sync()
    two = IntervalSchedule.objects.create(every=2, period="minutes")
    PeriodicTask.objects.filter(name=schedule.AUDIT).update(interval=two, expire_seconds=120, enabled=False)
    for every in (timedelta(hours=1), timedelta(hours=2), timedelta(minutes=5)):
        settings.WARMER_AUDIT_EVERY = every
        schedule.sync()
        task = entry()
        assert task is not None
        assert (task.interval, task.expire_seconds, task.enabled) == (two, 120, False)


def test_schedule__crontab_of_an_operator_stays(settings: Any) -> None:
    settings.WARMER_AUDIT_SAMPLE = 50
    schedule.sync()
    task = entry()
    assert task is not None
    task.interval, task.crontab = None, CrontabSchedule.objects.create(minute="5")
    task.save()
    settings.WARMER_AUDIT_EVERY = timedelta(hours=2)
    schedule.sync()
    task = entry()
    assert task is not None
    assert (task.interval, task.crontab.minute) == (None, "5")


def test_schedule__interval_of_the_setting_is_followed(settings: Any) -> None:
    settings.WARMER_AUDIT_SAMPLE = 50
    schedule.sync()
    settings.WARMER_AUDIT_EVERY = timedelta(minutes=10)
    schedule.sync()
    task = entry()
    assert task is not None
    assert (task.interval.every, task.interval.period, task.expire_seconds) == (10, "minutes", 600)


def test_task__audits_a_sample_of_every_job_and_keeps_the_result(
    job: Any, source: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WARMER_AUDIT_SAMPLE = 7
    job.warm()
    source.update(dict.fromkeys(range(10), "another"))
    audit_sample()
    rows = {row.job: row for row in CacheAudit.objects.all()}
    assert set(rows) == set(jobs)
    assert {row.trigger for row in rows.values()} == {"schedule"}
    assert (rows["things"].sampled, rows["things"].wrong, rows["things"].repaired) == (7, 7, 0)
    assert "things: of 7 sampled keys 7 are wrong and 0 failed: thing:" in caplog.text
    assert len(cache.get_many([f"thing:{number}" for number in range(10)])) == 10


def test_task__does_nothing_once_it_is_off(job: Any) -> None:
    audit_sample()
    audit_sample("things")
    assert not CacheAudit.objects.exists()


def test_task__cache_down_is_a_line_in_the_log(
    source: Any, settings: Any, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WARMER_AUDIT_SAMPLE = 7
    declare(source)
    redis_server.stop()
    audit_sample()
    assert "things was not audited: StoreUnavailable" in caplog.text
    assert not CacheAudit.objects.filter(job="things").exists()


def test_task__job_that_fails_does_not_stop_the_others(
    job: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WARMER_AUDIT_SAMPLE = 7

    def ids() -> list[int]:
        raise ValueError("no ids")

    warm_many("aaa:{id}", ids=ids, name="aaa")(dict)
    warm("zzz", name="zzz")(lambda: 1)
    audit_sample()
    assert {row.job for row in CacheAudit.objects.all()} == set(jobs)
    assert "aaa: of 0 sampled keys 0 are wrong and 0 failed: The ids could not be found" in caplog.text
