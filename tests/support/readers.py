"""Readers of a cold key; in a process of their own: `python -m tests.support.readers '{"threads": 50}'`.

It is one of `Actors`, and says what each of its threads got.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import django
from redis import Redis

from embedded.waiting import wait_until
from tests.support.processes import Actors

KEY = "cold:{id}"
# Who waits longer hangs.
PATIENCE_SECONDS = 60


class Loader:
    """A loader that reads rows from a dictionary and keeps its calls; each of `errors` is raised once."""

    def __init__(self) -> None:
        self.rows: dict[Any, Any] = {id: f"value {id}" for id in range(1, 10)}
        self.calls: list[list[Any]] = []
        self.errors: list[BaseException] = []

    def __call__(self, ids: Sequence[Any]) -> Mapping[Any, Any]:
        self.calls.append(list(ids))
        found = {id: self.rows[id] for id in ids if id in self.rows}
        if self.errors:
            raise self.errors.pop(0)
        return found


def kept(redis_client: Redis) -> set[str]:
    """Return what is in the cache, but for the fences."""
    names = {name.decode() for name in redis_client.scan_iter()}
    return {name for name in names if ":warmer-fence:" not in name}


def claims_and_writes(server: Redis) -> int:
    """Return how many scripts ran in the server: of a reader who misses its claim, then its write."""
    stats: Any = server.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])


def counting_loader(
    server: Redis, *, readers: int = 0, fails: bool = False, sticks: bool = False
) -> Callable[[Sequence[Any]], Mapping[Any, Any]]:
    """Return a loader that counts its calls ("loads") in the server, and how many of them run at once ("at_once").

    The first call waits until so many readers have missed the key. Every call raises, or never ends, on demand.
    """

    def load(ids: Sequence[Any]) -> Mapping[Any, Any]:
        first = server.incr("loads") == 1
        server.rpush("at_once", server.incr("loading"))  # type: ignore[arg-type]
        try:
            if sticks:
                threading.Event().wait()
            if first:
                wait_until(lambda: claims_and_writes(server) >= readers, what="all have come")
            if fails:
                raise ValueError("broken")
            return {id: f"value {id}" for id in ids}
        finally:
            server.decr("loading")

    return load


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait(PATIENCE_SECONDS)
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - it is what the reader got
            return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls, timeout=PATIENCE_SECONDS))


def in_forks(count: int, call: Callable[[], list[Any]]) -> list[Any]:
    """Call in so many child processes, which need not load Django again; return all that they returned."""
    pipes = []
    for _ in range(count):
        reading, writing = os.pipe()
        if not os.fork():
            with open(writing, "w") as pipe:
                json.dump(call(), pipe)
            os._exit(0)
        os.close(writing)
        pipes.append(reading)
    results = []
    for reading in pipes:
        with open(reading) as pipe:
            results += json.load(pipe)
    return results


class Readers(Actors):
    """Processes with readers in them; `options` are those of `main`."""

    def __init__(self, **options: Any) -> None:
        super().__init__([["-m", "tests.support.readers", json.dumps(options)]])


def main(*, processes: int, threads: int, readers: int = 0, fails: bool = False, sticks: bool = False) -> None:
    """Read the cold key in threads of some processes, and say what each got."""
    django.setup()
    from django.conf import settings
    from django_redis import get_redis_connection

    from warmer import warm_many
    from warmer.filling import read_counters

    settings.WARMER_COUNT_READS = False  # a flush would be counted among the claims and writes
    read_counters.follow_settings()
    settings.WARMER_READ_WAIT = settings.WARMER_READ_CLAIM = timedelta(seconds=PATIENCE_SECONDS)
    loader = counting_loader(get_redis_connection(), readers=readers, fails=fails, sticks=sticks)
    job: Any = warm_many(KEY, ids=list, name="cold")(loader)
    print("ready", flush=True)
    sys.stdin.readline()
    read = partial(at_once, [lambda: job.get(1)] * threads)
    # A process that is to be killed has no children.
    print(json.dumps(read() if processes == 1 else in_forks(processes, read)))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
