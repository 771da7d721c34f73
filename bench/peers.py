"""Warming profiles by other libraries that can be asked to do it, each in a process of its own.

Each reads the same rows with the same function, as many at a time as it can take, into an empty cache, and
encodes as it does by itself.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from functools import partial
from typing import Any

from django.core.cache import caches

from bench.measure import Benchmark, Comparison, Contender
from bench.profiles import create_users
from bench.workers import Worker, close_all

SAMPLE = 100
SERVER_MEMORY, PEAK_MEMORY = "server bytes a key", "peak MiB of the process"

WAYS = {
    "warmer": ("warmer: job.warm()", "with_warmer:Warmer", ""),
    "warmer_pickle": ("warmer: job.warm(), pickle", "with_warmer:OnPickle", ""),
    "dogpile": ("dogpile.cache: get_or_create_multi", "with_dogpile:Dogpile", ""),
    "cacheops": ("cacheops: cached_as", "with_cacheops:CachedAs", "cacheops"),
    "cacheback": ("cacheback: Job.refresh", "with_cacheback:Cacheback", "cacheback"),
}


def benchmark(rows: int) -> Benchmark:
    """Return who warms."""
    ids = create_users(rows)
    sample = random.Random(7).sample(ids, min(SAMPLE, rows))
    trials: list[Trial] = []
    contenders = []
    for name, (title, means, apps) in WAYS.items():
        os.environ["BENCH_APPS"] = apps
        trial = Trial(Worker(f"bench.{means}", settings="bench.peer_settings"), rows, sample)
        trials.append(trial)
        contenders.append(
            Contender(
                name=name,
                title=title,
                run=trial.run,
                operations=rows,
                prepare=trial.prepare,
                verify=trial.verify,
                count=trial.count,
                other_cpu=trial.cpu,
            )
        )
    comparisons = [
        Comparison(subject=subject, against=other, kind="speed", target=1.0)
        for subject in ("warmer", "warmer_pickle")
        for other in ("dogpile", "cacheops", "cacheback")
    ]
    comparisons += [
        Comparison(subject="warmer", against=other, kind="cost", of=of, target=1.0)
        for of in (SERVER_MEMORY, PEAK_MEMORY)
        for other in ("dogpile", "cacheops", "cacheback")
    ]
    return Benchmark(
        operation="profile",
        shows="rate",
        contenders=contenders,
        comparisons=comparisons,
        close=partial(close_all, [trial.worker for trial in trials]),
    )


class Trial:
    """One library: its process, and what became of the cache."""

    def __init__(self, worker: Worker, rows: int, sample: list[int]) -> None:
        self.worker = worker
        self._rows = rows
        self._sample = sample
        self._server: Any = caches["default"]
        self._peak = 0

    def prepare(self) -> None:
        """Empty the cache."""
        self._client.flushdb()

    def run(self) -> None:
        """Have it warm."""
        self._peak = self.worker.ask("warm")

    def verify(self) -> None:
        """See that there is a key for each profile, and what some of them hold."""
        if self._client.dbsize() < self._rows:
            raise AssertionError(f"{self._client.dbsize()} keys for {self._rows} profiles")
        if wrong := self.worker.ask("wrong", self._sample):
            raise AssertionError(f"{len(wrong)} of {len(self._sample)} profiles are not cached as they are")

    def count(self) -> Mapping[str, float]:
        """Return the memory that it takes, on both sides."""
        return {
            SERVER_MEMORY: self._used() / self._rows,
            PEAK_MEMORY: self._peak / 2**20,
        }

    def cpu(self) -> float:
        """Return the processor time of its process."""
        return self.worker.cpu

    @property
    def _client(self) -> Any:
        return self._server.client.get_client(write=True)

    def _used(self) -> int:
        pipeline = self._client.pipeline(transaction=False)
        for key in self._client.scan_iter(count=1_000):
            pipeline.memory_usage(key, samples=0)  # of a set or hash, all of it
        return sum(pipeline.execute())
