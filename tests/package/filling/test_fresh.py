"""Only what is needed: keys that are still good are looked at in one round trip, and not loaded."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from redis import Redis

from tests.package.filling.support import LOCMEM, Calls, declare, loader_of
from warmer.models import Trigger
from warmer.stores import Store
from warmer.tasks import request_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.fixture
def calls() -> Calls:
    """What the loader was asked for."""
    return []


@pytest.fixture
def job(calls: Calls) -> Any:
    return declare(loader_of(calls), name="fresh", batch_size=5, timeout=timedelta(hours=1), refresh_below=0.5)


def test_only_missing__all_cached_is_one_round_trip_a_batch(job: Any, calls: Calls, redis_client: Redis) -> None:
    job.warm()
    job.warm(only_missing=True)  # the server has the script from now on
    calls.clear()
    redis_client.config_resetstat()
    report = job.warm(only_missing=True)
    assert (report.skipped, report.queries, calls) == (10, 0, [])
    # EXISTS tells of a whole batch at once, so no key is asked for its time.
    stats = redis_client.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 2
    assert not {"cmdstat_pttl", "cmdstat_get", "cmdstat_mget"} & set(stats)
    cache.delete_many(["fresh:3", "fresh:8"])
    report = job.warm(only_missing=True)
    assert (report.skipped, report.written, calls) == (8, 2, [[3], [8]])


def test_refresh_below__schedule_loads_what_has_little_time_left(job: Any, calls: Calls, redis_client: Redis) -> None:
    job.warm()
    for id, minutes in ((1, 29), (2, 29), (7, 31)):
        redis_client.pexpire(f":1:fresh:{id}", timedelta(minutes=minutes))
    cache.delete("fresh:9")
    calls.clear()
    run = request_run("fresh", Trigger.SCHEDULE).run
    assert (run.state, run.skipped, run.written) == ("complete", 7, 3)
    assert calls == [[1, 2], [9]]
    assert redis_client.pttl(":1:fresh:1") > 3_500_000


@pytest.mark.parametrize("trigger", [each for each in Trigger if each is not Trigger.SCHEDULE])
def test_refresh_below__of_the_schedule_alone(job: Any, trigger: Trigger) -> None:
    job.warm()
    assert request_run("fresh", trigger).run.written == 10


def test_refresh_below__without_it_the_schedule_loads_all() -> None:
    declare(name="all")
    assert [request_run("all", Trigger.SCHEDULE).run.written for _ in range(2)] == [10, 10]


def test_refresh_below__cache_that_tells_no_times_refreshes_all(settings: Any) -> None:
    settings.CACHES = LOCMEM
    cache.clear()
    declare(name="untold", refresh_below=0.5)
    for _ in range(2):
        run = request_run("untold", Trigger.SCHEDULE).run
        assert (run.skipped, run.written) == (0, 10)
    assert request_run("untold", Trigger.SCHEDULE, only_missing=True).run.skipped == 10


def test_fresh__key_without_an_end_is_fresh(job: Any) -> None:
    cache.set("fresh:1", "for ever", timeout=None)
    assert list(job.spec.store.fresh(["fresh:1", "fresh:2"], seconds=1800.0)) == ["fresh:1"]


def test_fresh__more_keys_than_a_script_can_hand_on_at_once(job: Any) -> None:
    store: Store = job.spec.store
    keys = [f"fresh:{id}" for id in range(9_001)]
    store.write(store.token([]), dict.fromkeys(keys, 1))
    assert len(store.fresh(keys, seconds=0.0)) == 9_001
    cache.delete("fresh:9000")
    assert set(keys) - set(store.fresh(keys, seconds=0.0)) == {"fresh:9000"}
