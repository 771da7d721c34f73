"""Read counters: reads are counted right, in threads and processes, and flushed at no reader's cost."""

import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from celery.signals import task_postrun, worker_process_shutdown
from django.core.cache import cache
from django.core.signals import request_finished
from django.db import transaction
from django.utils import timezone
from redis import Redis

from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from myapp.models import Post
from tests.package.monitoring.things import LOCMEM, declare
from tests.support.processes import ROOT, environment
from warmer import warm
from warmer.filling import read_counters
from warmer.invalidation import Relay
from warmer.models import ChangeRecord
from warmer.stores import Counted, breaker
from warmer.stores.counters import DAY_SECONDS, SLOT_SECONDS
from warmer.tasks import close_stalled_runs

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

PATIENCE_SECONDS = 60
HOUR_SECONDS = 3600
start_flushing = read_counters.start_flushing


@pytest.fixture
def job() -> Any:
    return declare()


def flushed(job: Any) -> dict[str, int]:
    """Return what the cache has counted, after a flush of this process."""
    read_counters.flush()
    return known(job)


def known(job: Any) -> dict[str, int]:
    counters = job.spec.store.counters
    (totals,) = counters.totals([counters])
    return dict(totals)


def ours(redis_client: Redis) -> list[bytes]:
    """Return the keys that counting has made."""
    return [name for name in redis_client.scan_iter() if b"}:reads" in name or b"}:watched" in name]


def test_read__hits_and_misses(job: Any) -> None:
    job.warm([1, 2])
    for id in (1, 3, 3):
        job.get(id)
    job.get_many([1, 2, 4, 5, 6])
    assert flushed(job) == {"hits": 4, "misses": 4, "written": 4}
    single = warm("only", name="only")(lambda: 1)
    assert (single.get(), single.get()) == (1, 1)
    assert flushed(single) == {"hits": 1, "misses": 1, "written": 1}


def test_read__absent_key_misses_unless_its_absence_is_cached() -> None:
    job, remembers = declare(), declare("remembered", negative_timeout=timedelta(minutes=1))
    assert [each.get(-1) for each in (job, job, remembers, remembers)] == [None] * 4
    assert flushed(job) == {"misses": 2, "no_value": 2}
    assert flushed(remembers) == {"hits": 1, "misses": 1, "no_value": 1}


def test_read__past_the_cache_is_neither(make_post: Any) -> None:
    post = make_post()
    job = declare(depends_on={Post: "id"})
    with transaction.atomic():
        post.save()
        job.get(post.pk)
    assert flushed(job).items() & {"past": 1, "hits": 1, "misses": 1}.items() == {("past", 1)}


def test_invalidation__lag_of_one_that_waited_is_since_the_change(make_post: Any, redis_server: RedisServer) -> None:
    post = make_post()
    ChangeRecord.objects.all().delete()  # it was applied without this job
    job = declare(depends_on={Post: "id"})
    redis_server.stop()
    post.save()
    redis_server.start()
    ChangeRecord.objects.update(recorded_at=timezone.now() - timedelta(seconds=90))
    Relay().poll()
    counts = flushed(job)
    assert counts["invalidations"] == 1
    assert 90e6 <= counts["invalidation_us"] < 150e6


def test_off__counts_nothing(job: Any, settings: Any, redis_client: Redis) -> None:
    settings.WARMER_COUNT_READS = False
    job.get(1)
    job.invalidate([1])
    read_counters.flush()
    assert ours(redis_client) == []
    settings.WARMER_COUNT_READS = True
    settings.CACHES = LOCMEM  # it keeps no counts
    other = declare("other")
    other.get(1)
    read_counters.flush()
    assert other.spec.store.counters is None
    cache.clear()


def test_flush__adds_to_what_others_counted(job: Any, redis_client: Redis) -> None:
    job.warm()
    assert flushed(job) == {}, "a run reads nothing"
    for total in (1, 2, 3):
        job.get(1)
        assert flushed(job) == {"hits": total}
    assert flushed(job) == {"hits": 3}
    kept = ours(redis_client)
    assert len(kept) == 2
    assert all(0 < redis_client.ttl(name) <= 7 * DAY_SECONDS for name in kept)


def test_flush__is_one_round_trip_a_job(redis_client: Redis) -> None:
    several = [declare(f"job{number}") for number in range(5)]
    for _ in range(2):
        for each in several:
            each.get_many([1, 2])
        redis_client.config_resetstat()
        read_counters.flush()  # at the second time the server knows the script
    read_counters.flush()
    assert redis_client.info("commandstats")["cmdstat_evalsha"]["calls"] == len(several)


def test_flush__cache_that_is_down_is_made_up_for_and_delays_no_other(
    job: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with RedisServer() as other:
        other.start()
        place = settings.CACHES["default"] | {"LOCATION": other.url(0)}
        settings.CACHES = {**settings.CACHES, "other": place}
        elsewhere = declare("elsewhere", cache="other")
        job.get(1)
        elsewhere.get(1)
        other.stop()
        assert elsewhere.get(1) == {"id": 1}
        assert flushed(job)["misses"] == 1
        assert "Traceback" not in caplog.text
        other.start()
        breaker.forget()
        assert flushed(elsewhere) == {"misses": 1, "written": 1, "past": 1}


def test_flush__that_fails_for_any_reason_is_made_up_for(job: Any, caplog: pytest.LogCaptureFixture) -> None:
    job.get(1)
    with patch.object(type(job.spec.store.counters), "add", side_effect=ValueError("unexpected")):
        read_counters.flush()
    assert "The reads of things are flushed later: ValueError: unexpected" in caplog.text
    assert flushed(job) == {"misses": 1, "written": 1}


def test_thread__flushes_by_itself(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_counters, "start_flushing", start_flushing)
    monkeypatch.setattr(read_counters, "FLUSH_SECONDS", 0.01)
    job.get(1)
    wait_until(lambda: "misses" in known(job), seconds=PATIENCE_SECONDS, what="a miss is flushed")
    job.get(1)
    wait_until(lambda: "hits" in known(job), seconds=PATIENCE_SECONDS, what="a hit is flushed")


@pytest.mark.parametrize(
    "end",
    [
        lambda: request_finished.send(None),
        lambda: task_postrun.send(None, task=close_stalled_runs),
        lambda: worker_process_shutdown.send(None),
    ],
    ids=["request", "task", "worker"],
)
def test_end__flushes_when_no_thread_did(end: Callable[[], Any], job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job.get(1)
    monkeypatch.setattr(read_counters, "FLUSH_SECONDS", 3600.0)
    request_finished.send(None)
    assert known(job) == {}, "it is not due"
    monkeypatch.setattr(read_counters, "FLUSH_SECONDS", 0.0)
    end()
    assert known(job)["misses"] == 1


def test_threads__lose_no_count(job: Any) -> None:
    threads, reads = 4, 4_000
    over = threading.Event()

    def keep_flushing() -> None:
        while not over.is_set():
            read_counters.flush()

    def read(_: int) -> None:
        for _ in range(reads):
            read_counters.count_read(job.spec, ["things:1", "things:2"], ["things:2"])

    flusher = threading.Thread(target=keep_flushing)
    flusher.start()
    switches = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(read, range(threads)))
    finally:
        sys.setswitchinterval(switches)
        over.set()
        flusher.join()
    assert flushed(job) == {"hits": threads * reads, "misses": threads * reads}


PROCESS = """
import os, signal, sys
import django
django.setup()
from warmer import warm_many
from warmer.filling import read_counters
job = warm_many("things:{id}", name="things", ids=range)(lambda ids: {id: id for id in ids})
"""
THAT_ENDS = "for _ in range(300): job.get_many([1, 2])"
THAT_IS_KILLED = """
read_counters.start_flushing = lambda _: None
for _ in range(100): job.get(1)
read_counters.flush()
for _ in range(50): job.get(1)
os.kill(os.getpid(), signal.SIGKILL)
"""
THAT_FORKS = """
start, read_counters.start_flushing = read_counters.start_flushing, lambda _: None
for _ in range(10): job.get(1)
if not os.fork():
    read_counters.start_flushing, read_counters.FLUSH_SECONDS = start, 0.01
    for _ in range(5): job.get(1)
    sys.stdin.readline()
    os._exit(0)
os.wait()
"""


def start(body: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS + body], cwd=ROOT, env=environment(), stdin=subprocess.PIPE, text=True
    )


def test_process__loses_what_it_did_not_flush_if_killed_and_no_count_if_it_ends_or_forks(job: Any) -> None:
    job.warm()
    ends, is_killed, forks = map(start, (THAT_ENDS, THAT_IS_KILLED, THAT_FORKS))
    flushed_by_now = 300 * 2 + 100
    try:
        for process in (ends, is_killed):
            process.communicate(timeout=PATIENCE_SECONDS)
        # The child has flushed its own reads alone.
        wait_until(lambda: known(job) == {"hits": flushed_by_now + 5}, seconds=PATIENCE_SECONDS, what="it has flushed")
    finally:
        forks.communicate("\n", timeout=PATIENCE_SECONDS)
    assert [each.returncode for each in (ends, is_killed, forks)] == [0, -signal.SIGKILL, 0]
    assert known(job) == {"hits": flushed_by_now + 15}


def test_recent__hour_and_day(job: Any) -> None:
    now = 1_800_000_000.0  # begins a slot and an hour
    for ago, hits, misses in (
        (0, 1, 0),
        (HOUR_SECONDS - SLOT_SECONDS, 10, 1),
        (HOUR_SECONDS, 100, 0),
        (DAY_SECONDS - SLOT_SECONDS, 1_000, 2),
        (DAY_SECONDS, 10_000, 0),
    ):
        counts = Counter({"hits": hits, "misses": misses})
        job.spec.store.counters.add(Counted(counts=counts), now=now - ago)
    found = job.spec.store.counters.recent(now, timedelta(hours=1), timedelta(days=1))
    assert found == [Counter(hits=11, misses=1), Counter(hits=1_111, misses=3)]
    assert declare("unread").spec.store.counters.recent(now, timedelta(days=1)) == [Counter()]
