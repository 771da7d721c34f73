"""The randomised race on a Redis Cluster, whose slots move and whose nodes change roles meanwhile.

Threads of one process, since they share its connections too. A value is its row's version: it is stale if it
is below a version that was invalidated before the value was read. It takes a fifth of `--race-seconds`.
"""

import random
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any

import pytest
from django.core.cache import cache

from embedded.redis_server import RedisCluster
from embedded.waiting import wait_until
from tests.support.clusters import cluster_caches
from tests.support.others import in_threads
from tests.support.stores import invalidate_all
from warmer.exceptions import StoreUnavailable
from warmer.keys import KeyTemplate
from warmer.report import Outcome
from warmer.stores import open_store
from warmer.stores.redis.connections import slot_of

ROWS = 60
WHOLE_JOB = 0.02


class Race:
    """The rows, and what befell their keys."""

    def __init__(self, seconds: float, seed: int) -> None:
        self.key = KeyTemplate.parse("row:{id}", keyed=True)
        self.store = open_store(alias="default", template=self.key, timeout=600.0)
        self.random = random.Random(seed)
        self.versions = dict.fromkeys(range(ROWS), 0)
        self.end = time.monotonic() + seconds
        self.lock = Lock()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def until_the_end(self, step: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            while time.monotonic() < self.end:
                try:
                    step()
                except StoreUnavailable:
                    self.counts["unavailable"] += 1
                    time.sleep(0.02)

        return run

    def write(self) -> None:
        """Change a row, invalidate until that succeeds as a worker does, and read."""
        id = self.random.randrange(ROWS)
        with self.lock:
            self.versions[id] += 1
            version = self.versions[id]
        is_due = self.counts["changes"] > 10 and not self.counts["whole job"]  # on a slow machine, too
        whole = is_due or self.random.random() < WHOLE_JOB
        invalidate: Any = partial(invalidate_all, self.store) if whole else lambda: self.store.invalidate([key])
        key = self.key.key(id)
        while True:
            try:
                invalidate()
                break
            except StoreUnavailable:
                self.counts["invalidated later"] += 1
                time.sleep(0.02)
        self.counts["whole job" if whole else "changes"] += 1
        cached = self.store.lookup([key]).values.get(key)
        if cached is not None and cached < version:
            self.wrong.append(f"{key}: read {cached} after the invalidation of {version}")

    def warm(self) -> None:
        keys = [self.key.key(id) for id in range(ROWS)]
        token = self.store.token(keys)
        values = self.load(range(ROWS))
        self.count(self.store.write(token, values))

    def fill(self) -> None:
        ids = self.random.sample(range(ROWS), 5)
        claim = self.store.claim([self.key.key(id) for id in ids], seconds=1.0)
        values = self.load([id for id in ids if self.key.key(id) in claim.mine])
        self.count(self.store.write(claim.token, values, claim=claim))

    def load(self, ids: Any) -> dict[str, int]:
        values = {self.key.key(id): self.versions[id] for id in ids}
        time.sleep(self.random.random() * 0.01)
        return values

    def count(self, written: Any) -> None:
        for outcome in written.outcomes.values():
            self.counts[outcome.value] += 1


def test_race__no_wrong_value_while_slots_move_and_nodes_change_roles(
    settings: Any, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds, seed = pytestconfig.getoption("race_seconds") / 5, pytestconfig.getoption("race_seed")
    with RedisCluster(replicas=1) as cluster:
        settings.CACHES = cluster_caches(cluster)
        race = Race(seconds, seed)
        roles = [race.write, race.write, race.warm, race.fill, race.fill]
        threads = in_threads(*map(race.until_the_end, roles))
        while time.monotonic() < race.end:
            _move(cluster, race)
            if time.monotonic() > race.end - seconds / 2 and not race.counts["failovers"]:
                _fail_over(cluster, race)
        for thread in threads:
            thread.join()
        found = cache.get_many([race.key.key(id) for id in range(ROWS)])
        true = {race.key.key(id): version for id, version in race.versions.items()}
        race.wrong += [f"{key}: {each} at rest" for key, each in found.items() if each != true[key]]
    with capsys.disabled():
        figures = ", ".join(f"{count:,} {name}" for name, count in sorted(race.counts.items()))
        print(f"\nrace of {seconds} s on a cluster, seed {seed}: {figures}; {len(race.wrong)} wrong values")
    assert race.wrong == []
    for name in ("moves", "failovers", "changes", "whole job", *(Outcome.WRITTEN, Outcome.SUPERSEDED)):
        assert race.counts[name] > 0


def _move(cluster: RedisCluster, race: Race) -> None:
    slot = slot_of(f":1:{race.key.key(race.random.randrange(ROWS))}")
    owners = {cluster.owner(each) for each in (0, 8_000, 16_000)}
    to = race.random.choice(sorted(owners - {cluster.owner(slot)}))
    cluster.begin_move(slot, to)
    cluster.move_keys(slot, to, count=1)
    time.sleep(race.random.random() * 0.02)
    cluster.end_move(slot, to)
    race.counts["moves"] += 1


def _fail_over(cluster: RedisCluster, race: Race) -> None:
    """Let the replica of the first node take over, in agreement with it."""
    cluster.ask(3, "CLUSTER FAILOVER")
    wait_until(lambda: cluster.owner(0) == 3, what="the replica has taken over")
    race.counts["failovers"] += 1
