"""Effectiveness: which share of the warm keys is read, told by a panel of keys that readers watch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone
from redis import Redis

from embedded.redis_server import RedisServer
from warmer import warm_many
from warmer.filling import read_counters
from warmer.models import JobObservation
from warmer.monitoring.effectiveness import DELAY, LONGEST
from warmer.monitoring.observation import Observation, latest, observe

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

HOUR = timedelta(hours=1)


def declare(count: int = 10, **options: Any) -> Any:
    options = {"name": "things", "ids": lambda: range(count), "timeout": HOUR} | options

    @warm_many("thing:{id}", **options)
    def things(ids: Sequence[Any]) -> Mapping[Any, Any]:
        return {id: {"id": id} for id in ids}

    return things


def draw(job: Any) -> frozenset[str]:
    """Observe, have this process hear of the panel, and return its keys."""
    observe(job.spec)
    job.get(0)
    read_counters.flush()
    watch = read_counters.watch_of(job.spec)
    return watch.keys if watch else frozenset()


def close(job: Any) -> Observation:
    """Tell what was seen, let the panel's time pass, and observe."""
    read_counters.flush()
    row = JobObservation.objects.get(job=job.name)
    row.panel_ends_at = timezone.now()
    row.save()
    return observe(job.spec)


@pytest.fixture
def job() -> Any:
    job = declare()
    job.warm()
    return job


def test_effectiveness__is_the_share_that_was_read(job: Any) -> None:
    assert len(draw(job)) == 10
    for id in (1, 2, 3, 3, 3):
        job.get(id)
    job.get_many([2, 4])
    found = close(job)
    assert (found.watched, found.watched_read, found.effectiveness) == (10, 4, 0.4)
    assert (found.watched_misses, found.missed_while_declared) == (0, 0)
    assert found.effectiveness_margin == 0, "every declared key was watched"
    assert latest([job.name])[job.name] == found


def test_effectiveness__is_not_known_before_a_panel_ends(job: Any) -> None:
    draw(job)
    job.get(1)
    read_counters.flush()
    found = observe(job.spec)
    assert (found.effectiveness, found.missed_while_declared) == (None, None)
    assert found.effectiveness_due is not None
    assert found.observed_at is not None
    assert found.effectiveness_due - found.observed_at <= HOUR + DELAY


def test_effectiveness__of_a_second_panel_starts_anew(job: Any) -> None:
    draw(job)
    job.get_many(range(10))
    assert close(job).effectiveness == 1.0
    draw(job)
    job.get(5)
    assert close(job).effectiveness == 0.1


def test_effectiveness__reads_of_several_processes_are_one(job: Any) -> None:
    draw(job)
    job.get(1)
    read_counters.flush()
    read_counters.forget()  # as another process: it hears of the panel first
    job.get(9)
    read_counters.flush()
    for id in (1, 2):
        job.get(id)
    assert close(job).effectiveness == 0.2


def test_effectiveness__other_keys_do_not_count(job: Any) -> None:
    draw(job)
    job.get_many(range(100, 120))
    assert close(job).effectiveness == 0.0


def test_effectiveness__a_key_that_was_cold_when_drawn_does_not_count() -> None:
    job = declare()
    job.warm(range(5))
    draw(job)
    job.get_many([1, 7])
    found = close(job)
    # Of the cold ones 0 was read before the panel was drawn, and 7 missed.
    assert (found.watched, found.watched_read, found.watched_misses) == (5, 1, 1)


def test_misses__on_declared_keys_are_counted(job: Any) -> None:
    draw(job)
    job.invalidate([3, 4])
    job.get_many([2, 3, 4, 100])
    cache.delete("thing:5")
    job.get(5)
    found = close(job)
    assert (found.watched_misses, found.missed_while_declared) == (3, 3)
    assert found.watched_read == 1, "a read that missed is no read of a warm key"


def test_panel__of_a_large_job_is_a_sample(settings: Any) -> None:
    settings.WARMER_EFFECTIVENESS_SAMPLE = 50
    job = declare(400)
    job.warm()
    panel = draw(job)
    assert len(panel) == 50
    assert panel < {f"thing:{id}" for id in range(400)}
    job.get_many(range(100, 300))
    found = close(job)
    assert (found.watched, found.watched_share) == (50, 0.125)
    assert found.effectiveness_margin == pytest.approx(0.1386, abs=1e-4)
    # Six times the standard deviation of a sample of 50.
    assert found.effectiveness == pytest.approx(0.5, abs=0.43)


def test_panel__misses_of_a_sample_stand_for_all(settings: Any) -> None:
    settings.WARMER_EFFECTIVENESS_SAMPLE = 10
    job = declare(40)
    job.warm()
    draw(job)
    cache.clear()
    observe(job.spec)
    job.warm()
    draw(job)
    for id in range(40):
        cache.delete(f"thing:{id}")
    job.get_many(range(40))
    found = close(job)
    assert (found.watched_misses, found.missed_while_declared) == (10, 40)


def test_panel__stays_until_its_end(job: Any) -> None:
    first = draw(job)
    drawn = JobObservation.objects.get(job=job.name).panel
    assert draw(job) == first
    assert JobObservation.objects.get(job=job.name).panel == drawn


def test_panel__of_a_cold_job_is_not_drawn() -> None:
    job = declare()
    observe(job.spec)
    assert JobObservation.objects.get(job=job.name).panel == ""


def test_panel__that_the_cache_lost_gives_no_result(job: Any, redis_client: Redis) -> None:
    draw(job)
    before = JobObservation.objects.get(job=job.name).panel
    redis_client.flushdb()
    job.warm()
    found = observe(job.spec)
    assert found.effectiveness is None
    assert JobObservation.objects.get(job=job.name).panel not in ("", before)


def test_panel__lost_at_its_very_end_gives_no_result(job: Any, redis_client: Redis) -> None:
    draw(job)
    redis_client.flushdb()
    assert close(job).effectiveness is None


def test_panel__all_that_is_kept_ends(job: Any, redis_client: Redis) -> None:
    draw(job)
    job.get(1)
    cache.delete("thing:2")
    job.get(2)
    read_counters.flush()
    kept = [name for name in redis_client.scan_iter() if b"}:panel" in name]
    assert len(kept) == 5
    assert all(0 < redis_client.ttl(name) <= LONGEST.total_seconds() + 7200 for name in kept)
    close(job)
    read_counters.flush()
    observe(job.spec)
    again = [name for name in redis_client.scan_iter() if b"}:panel" in name]
    assert len(again) == 3, "the next one, of which nothing was read yet"


@pytest.mark.usefixtures("impatient_cache")
def test_panel__with_the_cache_down_goes_on_afterwards(job: Any, redis_server: RedisServer) -> None:
    draw(job)
    panel = JobObservation.objects.get(job=job.name).panel
    redis_server.pause()
    assert observe(job.spec).error
    redis_server.resume()
    job.get(4)
    read_counters.flush()
    assert observe(job.spec).error == ""
    assert JobObservation.objects.get(job=job.name).panel == panel


def test_off__no_panel_is_drawn_and_a_standing_one_ends(job: Any, settings: Any, redis_client: Redis) -> None:
    draw(job)
    settings.WARMER_EFFECTIVENESS_SAMPLE = 0
    observe(job.spec)
    job.get(1)
    read_counters.flush()
    left = [name for name in redis_client.scan_iter() if b"}:panel" in name]
    # What a process saw of it and told late ends by itself.
    assert all(name.endswith(b"-read") and redis_client.ttl(name) > 0 for name in left)
    assert read_counters.watch_of(job.spec) is None
    job.get(2)
    assert read_counters._process.here.tallies[job.spec].watch is None


def test_hit_rates__are_observed(job: Any) -> None:
    assert (observe(job.spec).hit_rate_hour, observe(job.spec).hits_day) == (None, 0)
    job.get_many([1, 2, 3, 100])
    read_counters.flush()
    found = observe(job.spec)
    assert (found.hit_rate_hour, found.hit_rate_day) == (0.75, 0.75)
    assert (found.hits_hour, found.misses_hour) == (3, 1)


def test_hit_rates__are_not_known_where_nothing_is_counted(job: Any, settings: Any) -> None:
    job.get(1)
    read_counters.flush()
    assert observe(job.spec).hits_hour == 1
    settings.WARMER_COUNT_READS = False
    found = observe(job.spec)
    assert (found.hits_hour, found.hit_rate_day, found.effectiveness_due) == (None, None, None)
