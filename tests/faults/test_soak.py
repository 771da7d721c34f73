"""A site's processes write, read and warm while its cache, broker and worker fail at random.

In CI one round of two faults; `--soak-minutes 60 --race-seed N` goes on for an hour. After each round the
site comes to rest: then no value is wrong, no change waits, and every run has ended.
"""

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models import Sum

from embedded.processes import ProcessGroup
from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from myapp.models import Post
from myapp.warming import popular_posts, posts
from tests.faults.conftest import AT_ONCE, Site
from tests.support.caches import caches_at
from tests.support.celery_apps import app_on
from tests.support.processes import ROOT, Actors, database_url, environment
from tests.support.proxy import Proxy
from warmer.invalidation import backlog
from warmer.models import ChangeRecord, Trigger, WarmingRun
from warmer.stores import breaker
from warmer.tasks import close_stalled_runs, request_run

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = 200
ROLES = ("writer", "writer", "reader", "reader")
# A lost run ends when it is stalled.
STALL_SECONDS, PATIENCE_SECONDS = 15, 90
ENVIRONMENT = {
    "CACHE_TIMEOUT_SECONDS": "1",
    "CELERY_TASK_ALWAYS_EAGER": "0",
    "CELERY_VISIBILITY_TIMEOUT": "5",
    "WARMER_STALL_TIMEOUT": str(STALL_SECONDS),
}


class Soak:
    """The site, its faults, and what came of them."""

    def __init__(self, site: Site, broker: RedisServer, log: Path, seed: int) -> None:
        self.site, self.broker, self.log = site, broker, log
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.compared = 0
        self.worker = self.start_worker()

    # -- a round ---------------------------------------------------------------------------------------
    def round(self, faults: list[str]) -> None:
        """Let the processes write, read and warm during the faults; then look at the site."""
        connection.close()
        posts = self.site.posts
        commands = [
            ["-m", "tests.races.actor", role, "this", self.random.randrange(10**6), 0, posts[0], posts[-1]]
            for role in ROLES
        ]
        with Actors(commands, env=environment()) as actors:
            actors.go()
            for fault in faults:
                self.warm()
                self.wait_for_writes(20)
                getattr(self, fault)()
                self.counts.update([fault, "faults"])
            # At once: later writes and fills would put right what the last fault left wrong.
            for number in range(len(ROLES)):
                self.count(actors.result(number, PATIENCE_SECONDS))
        self.rest()

    def warm(self) -> None:
        """Request runs that leave alone what is cached, as that may be wrong."""
        for job in ("posts", "popular_posts"):
            request_run(job, Trigger.COMMAND, only_missing=True)

    def wait_for_writes(self, number: int) -> None:
        enough = self.written() + number
        wait_until(lambda: self.written() >= enough, seconds=PATIENCE_SECONDS, what=f"{number} further writes")

    def written(self) -> int:
        return int(Post.objects.aggregate(sum=Sum("views"))["sum"] or 0)

    def count(self, told: Any) -> None:
        """Count what a process did."""
        self.counts += Counter(operations=sum(told["counts"].values()))
        # Until a fault is noticed, a value may be old; what was rolled back may never be read.
        old = [text for text in told["wrong"] if "was cached after" in text]
        self.counts["old for a moment"] += len(old)
        self.wrong += [text for text in told["wrong"] if text not in old]

    def rest(self) -> None:
        """Wait until the site is as it should be at rest, and count what is not."""

        def is_right() -> bool:
            if self.worker.poll() is not None:  # as Celery 5.7 does if its broker dies while it holds messages
                self.worker = self.start_worker()
                self.counts["workers that Celery ended"] += 1
            close_stalled_runs()
            return not (backlog().count or WarmingRun.objects.active().exists() or self.wrong_now())

        with suppress(TimeoutError):
            wait_until(is_right, seconds=PATIENCE_SECONDS, what="nothing is wrong", pause=0.2)
        self.wrong += self.wrong_now()
        self.counts["values compared"] += self.compared
        self.counts["lost invalidations"] += backlog().count
        self.counts["runs without an end"] += WarmingRun.objects.active().count()
        self.counts["runs"] = WarmingRun.objects.count()

    def wrong_now(self) -> list[str]:
        """Return what is cached and is not so."""
        breaker.forget()
        true: dict[str, Any] = {posts.key(id): value for id, value in posts(self.site.posts).items()}
        cached = posts.spec.store.lookup(list(true)).values | popular_posts.spec.store.lookup(["popular_posts"]).values
        true["popular_posts"] = popular_posts()
        self.compared = len(cached)
        return [f"{key}: {value} is cached" for key, value in cached.items() if value != true[key]]

    # -- the faults ------------------------------------------------------------------------------------
    def cache_killed(self) -> None:
        """The cache is away for some writes, and comes back empty."""
        server = self.site.proxy.server
        server.kill()
        (server.folder / "dump.rdb").unlink(missing_ok=True)
        self.wait_for_writes(20)
        server.start()

    def cache_frozen(self) -> None:
        self.site.proxy.server.pause()
        self.wait_for_writes(20)
        self.site.proxy.server.resume()

    def cache_restarted_from_an_old_save(self) -> None:
        with self.site.proxy.server.client() as client:
            client.save()
        self.wait_for_writes(40)
        self.site.crash()

    def cache_failed_over_to_a_replica_behind(self) -> None:
        primary, replica = self.site.proxy.server, self.site.replica()
        self.wait_for_writes(40)
        self.site.fail_over(replica)
        primary.stop()

    def cache_full(self) -> None:
        """The server takes no writes, and evicts nothing."""
        with self.site.proxy.server.client() as client:
            client.config_set("maxmemory", 1)
            self.wait_for_writes(40)
            client.config_set("maxmemory", 0)

    def broker_killed(self) -> None:
        """The broker comes back without its messages."""
        self.broker.kill()
        self.wait_for_writes(20)
        self.broker.start()

    def worker_killed(self) -> None:
        self.worker.end(())
        self.wait_for_writes(20)
        self.worker = self.start_worker()

    def start_worker(self) -> ProcessGroup:
        command = [sys.executable, "-m", "celery", "-A", "config", "worker", "--concurrency", "1"]
        with self.log.open("ab") as output:
            return ProcessGroup(command, output=output, env=os.environ, cwd=ROOT)


FAULTS = [
    "worker_killed",
    "cache_failed_over_to_a_replica_behind",
    "cache_killed",
    "cache_frozen",
    "cache_restarted_from_an_old_save",
    "cache_full",
    "broker_killed",
]


@pytest.fixture
def soak(
    settings: Any, monkeypatch: pytest.MonkeyPatch, make_post: Any, tmp_path: Path, pytestconfig: pytest.Config
) -> Iterator[Soak]:
    with RedisServer(options=AT_ONCE) as cache_server, Proxy(cache_server) as proxy, ExitStack() as servers:
        broker = servers.enter_context(RedisServer())
        addresses = {"REDIS_URL": proxy.url, "CELERY_BROKER_URL": broker.url(), "DJANGO_ENV": "test"}
        addresses |= {"DATABASE_URL": database_url()}
        for name, value in (ENVIRONMENT | addresses).items():
            monkeypatch.setenv(name, value)
        settings.CACHES = caches_at(proxy.url)
        settings.WARMER_STALL_TIMEOUT = settings.WARMER_RUN_EXPIRY = timedelta(seconds=STALL_SECONDS)
        rows = [make_post(views=1, is_popular=True).pk for _ in range(ROWS)]
        ChangeRecord.objects.all().delete()  # a worker that starts would invalidate what they are about
        site = Site(proxy=proxy, posts=rows, titles=posts, every_title=popular_posts, servers=servers)
        soak = Soak(site, broker, tmp_path / "worker.log", pytestconfig.getoption("race_seed"))
        try:
            with app_on(broker.url()):
                yield soak
        finally:
            soak.worker.end(())
            site.proxy.server.stop()
            breaker.forget()


def test_soak__at_rest_nothing_is_wrong_lost_or_without_an_end(
    soak: Soak, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    minutes, seed = pytestconfig.getoption("soak_minutes"), pytestconfig.getoption("race_seed")
    end = time.monotonic() + 60 * minutes
    soak.round(FAULTS[:2])
    while time.monotonic() < end:
        soak.round(soak.random.sample(FAULTS, 2))
    figures = ", ".join(f"{count:,} {name}" for name, count in sorted(soak.counts.items()))
    with capsys.disabled():
        print(f"\nsoak of {minutes} min, seed {seed}: {figures}; {len(soak.wrong)} wrong values")
    assert soak.wrong == []
    assert soak.counts["lost invalidations"] == soak.counts["runs without an end"] == 0
    assert soak.counts["operations"]
    assert soak.counts["values compared"]
