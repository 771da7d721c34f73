"""Find the keys of a job in a Redis server: by SCAN, never by KEYS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from redis import Redis

from warmer.keys import glob_escape, is_id_text

# How many keys are looked at in a round trip: about a millisecond of the server's time.
SCAN_COUNT = 1_000
# Stands for the id in a key that is not any one's.
PLACE = "\0"


def ids_of(server: Redis, made: str) -> Iterator[str]:
    """Yield the ids in the keys that are there; some may come twice.

    Args:
        server: where to look.
        made: the form of the keys as the server knows them, with `PLACE` for the id.
    """
    head, place, tail = made.partition(PLACE)
    if not place:
        return  # a key function that keeps no id in a key: nothing can be listed
    pattern = f"{glob_escape(head)}*{glob_escape(tail)}"
    for name in server.scan_iter(match=pattern, count=SCAN_COUNT):
        key = name.decode(errors="replace")
        id = key[len(head) : len(key) - len(tail)]
        if is_id_text(id):  # else it is another key, whose middle goes over a colon
            yield id


def batches(items: Iterable[Any], size: int = SCAN_COUNT) -> Iterator[list[Any]]:
    """Yield lists of at most `size` items."""
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
