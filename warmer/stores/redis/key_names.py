"""What a Redis server calls a job's keys, and what is kept beside them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.cache.backends.base import default_key_func

from warmer.keys import KeyTemplate
from warmer.stores.claims import beside
from warmer.stores.redis.scan import PLACE


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
