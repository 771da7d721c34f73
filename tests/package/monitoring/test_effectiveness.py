"""Effectiveness: which share of the warm keys is read, by a hash sample of the declared ones."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from redis import Redis

from embedded.redis_server import RedisServer
from tests.package.monitoring.things import declare
from warmer import testing
from warmer.filling import read_counters
from warmer.models import JobObservation
from warmer.monitoring import observation
from warmer.monitoring.observation import DELAY, observe
from warmer.stores import in_sample

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

HOUR, NOW = timedelta(hours=1), timedelta(0)


@pytest.fixture
def job() -> Any:
    job = declare(timeout=HOUR)
    job.warm()
    return job


def watch(job: Any) -> None:
    """Observe, and have this process hear which keys are watched."""
    observe(job.spec)
    job.get(-1)
    read_counters.flush()


Observe = Callable[..., JobObservation]


@pytest.fixture
def after(redis_client: Redis) -> Observe:
    """Return a function that observes a job as if some time had passed since its keys were read."""

    def after(job: Any, span: timedelta = HOUR + DELAY) -> JobObservation:
        read_counters.flush()
        (watched,) = redis_client.scan_iter("*:watched")
        for member, at in redis_client.zrange(watched, 0, -1, withscores=True):
            if at and member != b"every":
                redis_client.zincrby(watched, -span.total_seconds(), member)
        return observe(job.spec)

    return after


@pytest.fixture
def watched(job: Any, after: Observe) -> Any:
    """The job, whose keys have been watched for as long as they live."""
    watch(job)
    after(job)
    return job


def test_effectiveness__is_the_share_that_was_read(watched: Any, after: Observe) -> None:
    for id in (1, 2, 3, 3, 3):
        watched.get(id)
    watched.get_many([2, 4, 100])
    found = after(watched, NOW)
    assert (found.watched, found.watched_read, found.effectiveness) == (10, 4, 0.4)
    # What was read longer ago than a key lives does not count.
    assert after(watched, HOUR).effectiveness == 0.4
    watched.get(9)
    assert after(watched, timedelta(minutes=1)).effectiveness == 0.1


def test_effectiveness__is_unknown_until_a_life_has_passed(job: Any, after: Observe) -> None:
    watch(job)
    found = after(job, HOUR - timedelta(minutes=1))
    job.get(1)
    assert (found.effectiveness, found.missed_while_declared) == (None, None)
    assert after(job, timedelta(minutes=2)).effectiveness == 0.1


def test_effectiveness__reads_of_several_processes_are_one(watched: Any, after: Observe) -> None:
    watched.get(1)
    read_counters.flush()
    read_counters.forget()  # as another process: it hears of the sample first
    watch(watched)
    for id in (1, 2):
        watched.get(id)
    assert after(watched, NOW).effectiveness == 0.2


def test_effectiveness__cold_keys_do_not_count_and_misses_are_those_of_declared_keys(after: Observe) -> None:
    job = declare(timeout=HOUR)
    job.warm(range(5))
    watch(job)
    after(job)
    job.get_many([1, 7, 100])
    job.get(100)
    read_counters.flush()
    cache.delete_many(["things:7", "things:100"])
    job.get(100)  # a key that is not declared is not watched from its first hit on
    found = after(job, NOW)
    assert (found.watched, found.watched_read) == (5, 1)
    assert (found.watched_misses, found.missed_while_declared) == (1, 1)


def test_sample__of_a_large_job_stands_for_all(monkeypatch: pytest.MonkeyPatch, after: Observe) -> None:
    monkeypatch.setattr(observation, "WATCHED", 60)
    job = declare(ids=range(400), timeout=HOUR)
    job.warm()
    watch(job)
    after(job)
    watched = [id for id in range(400) if in_sample(f"things:{id}", 8)]
    job.get_many(range(100, 300))
    for id in watched[:4]:
        cache.delete(f"things:{id}")
    job.get_many(watched[:4])
    found = after(job, NOW)
    assert (found.watched, found.watched_share) == (len(watched), len(watched) / 400)
    assert (found.watched_misses, found.missed_while_declared) == (4, round(4 * 400 / len(watched)))
    # Six times the standard deviation of a sample of 50.
    assert found.effectiveness == pytest.approx(0.5, abs=0.43)


@pytest.mark.parametrize("key", ["user:{}:profile", "post:{}", "{:08x}", "a-long-name-of-a-thing-{}"])
@pytest.mark.parametrize("every", [2, 8, 64, 1024])
def test_sample__takes_its_share_of_any_keys(key: str, every: int) -> None:
    ids = range(100_000)
    taken = [id for id in ids if in_sample(key.format(id), every)]
    expected = len(ids) / every
    assert abs(len(taken) - expected) < 6 * expected**0.5
    # A half of the ids has a half of the sample.
    assert abs(sum(id < 50_000 for id in taken) - expected / 2) < 6 * (expected / 2) ** 0.5


def test_sample__follows_the_declared_keys(job: Any, after: Observe, redis_client: Redis) -> None:
    watch(job)
    job.spec.__dict__["ids"] = lambda: range(5, 15)
    job.warm()
    found = after(job)
    assert (found.watched, found.effectiveness) == (5, 0.0), "the new ones are watched from now on"
    assert after(job).watched == 10
    (watched,) = redis_client.scan_iter("*:watched")
    assert redis_client.zcard(watched) == 2 * 10 + 1
    assert redis_client.ttl(watched) > 0


def test_sample__that_the_cache_lost_gives_no_result(watched: Any, after: Observe, redis_client: Redis) -> None:
    watched.get_many(range(10))
    assert after(watched, NOW).effectiveness == 1.0
    redis_client.flushdb()
    watched.warm()
    assert observe(watched.spec).effectiveness is None


def test_sample__process_notes_a_bounded_number(watched: Any, after: Observe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_counters, "NOTED_KEYS", 3)
    for id in range(6):
        watched.get(id)
    found = after(watched, NOW)
    assert (found.watched_read, found.hits_day) == (3, 6)


@pytest.mark.usefixtures("impatient_cache")
def test_sample__of_a_cache_that_was_down_goes_on(watched: Any, after: Observe, redis_server: RedisServer) -> None:
    watched.get(4)
    redis_server.pause()
    read_counters.flush()
    assert observe(watched.spec).error
    redis_server.resume()
    assert after(watched, NOW).effectiveness == 0.1


def test_hit_rates__are_observed_where_reads_are_counted(job: Any, settings: Any) -> None:
    assert (observe(job.spec).hit_rate_hour, observe(job.spec).hits_day) == (None, 0)
    job.get_many([1, 2, 3, 100])
    read_counters.flush()
    found = observe(job.spec)
    assert (found.hit_rate_hour, found.hit_rate_day) == (0.75, 0.75)
    assert (found.hits_hour, found.misses_hour) == (3, 1)
    settings.WARMER_COUNT_READS = False
    found = observe(job.spec)
    assert (found.hits_hour, found.hit_rate_day, found.effectiveness) == (None, None, None)


def test_overtaken_loads__are_observed(job: Any) -> None:
    with testing.at("loaded", lambda: job.invalidate([100]), job=job.name, times=9):
        for _ in range(9):
            job.get(100)
    read_counters.flush()
    found = observe(job.spec)
    assert (found.overtaken_hour, found.is_hot) == (None, False)  # too few to tell
    job.get(100)
    read_counters.flush()
    found = observe(job.spec)
    assert (found.overtaken_hour, found.is_hot) == (0.9, True)
