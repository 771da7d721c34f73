"""What a Redis server calls a job's keys and what is kept beside them, and how to find those keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.core.cache.backends.base import default_key_func
from redis import Redis

from warmer.keys import KeyTemplate, beside, glob_escape, is_id_text

# How many keys are looked at in a round trip: about a millisecond of the server's time.
SCAN_COUNT = 1_000
# Stands for the id in a key that is not any one's.
PLACE = "\0"


class Names:
    """The names of one job's keys on the server of one cache.

    Attributes:
        head: what Django's own way of making keys puts before every one; None: they are made in another way,
            of which nothing is known.
    """

    def __init__(self, cache: Any, template: KeyTemplate, *, with_absences: bool) -> None:
        self._make_key = cache.make_key
        self._template = template
        self._with_absences = with_absences
        self.head: str | None = str(cache.make_key("")) if cache.key_func is default_key_func else None

    def made(self, keys: Iterable[str]) -> list[str]:
        """Return what the server calls the keys."""
        head = self.head
        if head is None:
            return list(map(self._make_key, keys))
        return [head + key for key in keys]

    def places(self, keys: Iterable[str], *, claims: bool = False) -> list[str]:
        """Return, of each key, what the server calls it, its absence mark (if absences are cached) and
        its claim (if that is asked for)."""
        beside_it = [*(["absent"] if self._with_absences else []), *(["claim"] if claims else [])]
        made = self.made(keys)
        if not beside_it:
            return made
        return [name for key in made for name in (key, *(beside(key, kind) for kind in beside_it))]

    def patterns(self) -> list[str]:
        """Return the places of any key, with `PLACE` where its id is."""
        return self.places([f"{self._template.prefix}{PLACE}{self._template.suffix}"])

    def own(self, name: str, version: str) -> str:
        """Return what the server calls something of our own, which no key of the project is called."""
        # A project's own way of making keys may leave the version out.
        own = name if self.head is not None else f"{version}:{name}"
        made: str = self._make_key(own, version=version)
        return made


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
