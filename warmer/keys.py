"""How a job's ids become cache keys, their names on a server, and when two jobs would write the same key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from numbers import Number
from typing import Any
from uuid import UUID

from django.core.cache.backends.base import default_key_func

from warmer.exceptions import DeclarationError, InvalidId, StoreUnavailable

TYPE_NAMES = "an int, a str or a UUID"
Id = int | str | UUID
_ID_TYPES = frozenset({int, str, UUID})
Batch = dict[str, Id | None]
"""Keys with their ids, loaded and written together. The key of a single job has no id."""

PLACE = "{id}"
# A placeholder for the id in the name of a key on a server.
ANY_ID = "\0"
# Memcached's limit of 250 bytes, minus room for a prefix and a version.
MAX_KEY_LENGTH = 200
# An id must not extend into the next part of a key, nor contain characters special to a cache or a glob, nor
# half of a surrogate pair, which cannot be encoded.
_ID = re.compile(r"[^\s:{}\x00-\x1f\x7f\ud800-\udfff]+")
_LITERAL = re.compile(r"[^\s{}\x00-\x1f\x7f]*")
# A number within these limits is always a valid id of at most 19 characters, and needs no further check.
_PLAIN_NUMBERS = range(1 - 10**18, 10**18)
_GLOB_SPECIAL = re.compile(r"([*?\[\]\\])")


@dataclass(frozen=True, kw_only=True)
class KeyTemplate:
    """A declared key: literal text, with `{id}` in it exactly when the job has a key for each id."""

    prefix: str
    suffix: str
    keyed: bool

    @classmethod
    def parse(cls, text: object, *, keyed: bool) -> KeyTemplate:
        """Parse a template such as `"user:{id}:profile"`.

        Raises:
            DeclarationError: says what to write instead.
        """
        if not isinstance(text, str) or not text:
            raise DeclarationError(f"a key is a string such as 'popular_posts', not {text!r}")
        prefix, _, suffix = text.partition(PLACE)
        if keyed and text.count(PLACE) != 1:
            problem = "must contain {id} exactly once, e.g. 'user:{id}:profile'; for one key, use @warm"
        elif not keyed and PLACE in text:
            problem = "contains {id}, but @warm declares a single key; for a key of each id, use @warm_many"
        elif text == PLACE:
            problem = "would match every key of the cache: write e.g. 'user:{id}'"
        elif not (_LITERAL.fullmatch(prefix) and _LITERAL.fullmatch(suffix)):
            problem = "must not contain spaces, control characters or braces other than {id}"
        elif len(text.encode()) > MAX_KEY_LENGTH:
            problem = f"is longer than {MAX_KEY_LENGTH} bytes"
        else:
            return cls(prefix=prefix, suffix=suffix, keyed=keyed)
        raise DeclarationError(f"the key {text!r} {problem}")

    def __str__(self) -> str:
        return f"{self.prefix}{PLACE if self.keyed else ''}{self.suffix}"

    @property
    def fence(self) -> str:
        """The name of the fence of all the keys: the template, with a star for `{id}`.

        A star could be an id, so templates without common keys have different names. It contains no braces,
        which a Redis Cluster would treat as a hash tag.
        """
        return f"{self.prefix}{'*' if self.keyed else ''}{self.suffix}"

    def key(self, id: Id | None = None) -> str:
        """Return the key of an id (for a single job, its only key).

        Raises:
            InvalidId: the id is of another type, or its text cannot be part of a key.
        """
        if not self.keyed:
            return self.prefix
        if type(id) is int and id in _PLAIN_NUMBERS and self._has_room:
            return f"{self.prefix}{id}{self.suffix}"
        value = as_id(id)
        if isinstance(value, bool) or not isinstance(value, int | str | UUID):
            problem = f"expected {TYPE_NAMES}, as from values_list('id', flat=True)"
        else:
            key = f"{self.prefix}{value}{self.suffix}"
            if is_id_text(str(value)) and len(key.encode()) <= MAX_KEY_LENGTH:
                return key
            problem = "it must not be empty or contain spaces, control characters, ':', '{' or '}', and its "
            problem += f"key must not be longer than {MAX_KEY_LENGTH} bytes"
        raise InvalidId(f"{id!r:.50} cannot be an id of {self}: {problem}")

    def id_text(self, key: str) -> str:
        """Return the text of the id in a key; nothing if it is not a key of this template, or has no id."""
        text = key.removeprefix(self.prefix).removesuffix(self.suffix)
        return text if self.keyed and is_id_text(text) and f"{self.prefix}{text}{self.suffix}" == key else ""

    def batch(self, ids: Sequence[Id]) -> Batch:
        """Return the keys of ids, each with its id. `ids` is ignored for a single job, which has one key.

        Raises:
            InvalidId: one of them cannot be part of a key.
        """
        if not self.keyed:
            return {self.prefix: None}
        if self._has_room and set(map(type, ids)) == {int}:
            numbers: Sequence[int] = ids  # type: ignore[assignment]
            if min(numbers) in _PLAIN_NUMBERS and max(numbers) in _PLAIN_NUMBERS:
                prefix, suffix = self.prefix, self.suffix
                return {f"{prefix}{id}{suffix}": id for id in numbers}
        return {self.key(id): as_id(id) for id in ids}

    @cached_property
    def _has_room(self) -> bool:
        """Whether the key cannot be too long for any plain number."""
        return len(f"{self.prefix}{self.suffix}".encode()) + 19 <= MAX_KEY_LENGTH

    def collides(self, other: KeyTemplate) -> bool:
        """Return whether some ids give both templates the same key.

        An id holds no colon, so two keys can be equal only if they have as many parts between colons,
        and only the parts with an id can differ.
        """
        return len(self._parts) == len(other._parts) and all(map(_parts_meet, self._parts, other._parts))

    @cached_property
    def _parts(self) -> list[str]:
        return str(self).split(":")


def plain(id: Any) -> Any:
    """Return an id as the database does: an enum member's value."""
    return id.value if isinstance(id, Enum) else id


def as_id(id: Any) -> Any:
    """Return an id as loaders get it: an object that is identified by its text, such as a ULID, as that text.

    Such a type defines equality and a string form. Numbers are not identified by their text (1.0 and 1.00 are
    equal), and the string form of a model instance is not its key.
    """
    if type(id) in _ID_TYPES:
        return id
    id = plain(id)
    kind: Any = type(id)
    is_value = kind.__str__ is not object.__str__ and kind.__eq__ is not object.__eq__
    is_known = isinstance(id, int | str | UUID | bytes | bytearray | Number) or hasattr(id, "_meta")
    return str(id) if is_value and not is_known else id


def type_of(id: Any) -> Callable[[str], Id]:
    """Return the function that parses a string into an id like this one; it raises ValueError."""
    return next((each for each in (int, UUID) if isinstance(as_id(id), each)), str)


def is_id_text(text: str) -> bool:
    """Return whether a string can be an id in a key."""
    return _ID.fullmatch(text) is not None


def glob_escape(text: str) -> str:
    """Escape the special characters of Redis' `MATCH`."""
    return _GLOB_SPECIAL.sub(r"\\\1", text)


def _parts_meet(one: str, other: str) -> bool:
    if PLACE not in one:
        one, other = other, one
    if PLACE not in one:
        return one == other
    before, after = one.split(PLACE)
    if PLACE not in other:
        return len(other) > len(before + after) and other.startswith(before) and other.endswith(after)
    before_2, after_2 = other.split(PLACE)
    heads_agree = before.startswith(before_2) or before_2.startswith(before)
    return heads_agree and (after.endswith(after_2) or after_2.endswith(after))


def beside(name: str, kind: str) -> str:
    """Return the name of an auxiliary key next to a key.

    Declared keys contain no braces, so none has this name; and a Redis Cluster keeps both in one slot.
    """
    return f"{name}:{{{kind}}}" if "{" in name else f"{{{name}}}:{kind}"


class Names:
    """The names of a job's keys on a cache's server.

    Attributes:
        head: the prefix that Django's own key function adds to every key; None: the project has its own key
            function.
    """

    def __init__(self, cache: Any, template: KeyTemplate, *, with_absences: bool) -> None:
        self._make_key = cache.make_key
        self._template = template
        self._marks = ["absent"] if with_absences else []
        self.head: str | None = str(cache.make_key("")) if cache.key_func is default_key_func else None
        self._first = cache.make_key(ANY_ID)

    def made(self, keys: Iterable[str]) -> list[str]:
        """Return the names of the keys on the server.

        Raises:
            StoreUnavailable: the project's key function returned other names before.
        """
        if (head := self.head) is not None:
            return [head + key for key in keys]
        if self._make_key(ANY_ID) != self._first:
            raise StoreUnavailable(
                "The cache's KEY_FUNCTION returns different names for one key, depending on the caller "
                "(see the check warmer.E005)"
            )
        return list(map(self._make_key, keys))

    def with_marks(self, keys: Iterable[str], *, claims: bool = False) -> list[str]:
        """Return the names of each key, of its absence mark if those are cached, and of its claim."""
        made, kinds = self.made(keys), [*self._marks, *(["claim"] if claims else [])]
        if not kinds:
            return made
        return [name for key in made for name in (key, *(beside(key, kind) for kind in kinds))]

    def patterns(self) -> list[str]:
        """Return the names of a key and its absence mark, with `ANY_ID` for the id."""
        return self.with_marks([f"{self._template.prefix}{ANY_ID}{self._template.suffix}"])

    def own(self, name: str, version: str) -> str:
        """Return the server's name for one of our own keys, different from every key of the project.

        Args:
            version: distinguishes it from the job's keys, whatever their `VERSION`.
        """
        # A project's own key function may ignore the version.
        own = name if self.head is not None else f"{version}:{name}"
        return str(self._make_key(own, version=version))
