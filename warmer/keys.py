"""Key templates: how a job's ids become cache keys, and when two jobs would write the same key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from warmer.exceptions import DeclarationError, InvalidId

type_names = "an int, a str or a UUID"
Id = int | str | UUID

PLACE = "{id}"
# Memcached's limit of 250 bytes, less room for a prefix and a version.
MAX_KEY_LENGTH = 200
# An id must not reach into the next part of a key, nor hold what a cache or a glob takes specially.
_ID = re.compile(r"[^\s:{}\x00-\x1f\x7f]+")
_LITERAL = re.compile(r"[^\s{}\x00-\x1f\x7f]*")
_GLOB_SPECIAL = re.compile(r"([*?\[\]\\])")


@dataclass(frozen=True, kw_only=True)
class KeyTemplate:
    """A declared key: literal text, with `{id}` in it exactly when the job has a key for each id."""

    prefix: str
    suffix: str
    keyed: bool

    @classmethod
    def parse(cls, text: object, *, keyed: bool) -> KeyTemplate:
        """Read a template such as `"user:{id}:profile"`.

        Raises:
            DeclarationError: says what to write instead.
        """
        if not isinstance(text, str) or not text:
            raise DeclarationError(f"a key is a text such as 'popular_posts', not {text!r}")
        if keyed and text.count(PLACE) != 1:
            raise DeclarationError(
                f"the key {text!r} must hold {{id}} exactly once, e.g. 'user:{{id}}:profile'; "
                "a job with one key is declared by @warm"
            )
        if not keyed and PLACE in text:
            raise DeclarationError(
                f"the key {text!r} holds {{id}}, but @warm declares a single key; "
                "a job with a key for each id is declared by @warm_many"
            )
        if text == PLACE:
            raise DeclarationError(
                "the key '{id}' would take every key of the cache for its own: write e.g. 'user:{id}'"
            )
        prefix, _, suffix = text.partition(PLACE)
        if not (_LITERAL.fullmatch(prefix) and _LITERAL.fullmatch(suffix)):
            raise DeclarationError(
                f"the key {text!r} may not hold blanks, control characters or braces other than {{id}}"
            )
        if len(text.encode()) > MAX_KEY_LENGTH:
            raise DeclarationError(f"the key {text!r} is longer than {MAX_KEY_LENGTH} bytes")
        return cls(prefix=prefix, suffix=suffix, keyed=keyed)

    def __str__(self) -> str:
        return f"{self.prefix}{PLACE if self.keyed else ''}{self.suffix}"

    def key(self, id: Id | None = None) -> str:
        """Return the key of an id (of a single job: its one key).

        Raises:
            InvalidId: the id is of another type, or its text cannot be part of a key.
        """
        if not self.keyed:
            return self.prefix
        if isinstance(id, bool) or not isinstance(id, int | str | UUID):
            raise InvalidId(f"{id!r} cannot be an id of {self}: expected {type_names}")
        try:
            text = str(id)
            text.encode()
        except ValueError:
            raise InvalidId(f"an id of {self} is too long a number, or no text that can be encoded") from None
        if not is_id_text(text):
            raise InvalidId(
                f"{id!r} cannot be an id of {self}: it may not be empty or hold blanks, "
                "control characters, ':', '{' or '}'"
            )
        key = f"{self.prefix}{text}{self.suffix}"
        if len(key.encode()) > MAX_KEY_LENGTH:
            raise InvalidId(f"the id {text[:20]}… makes a key of {self} longer than {MAX_KEY_LENGTH}")
        return key

    def collides(self, other: KeyTemplate) -> bool:
        """Say whether some ids give both templates the same key.

        An id holds no colon, so two keys can be equal only if they have as many parts between colons,
        and only the parts with an id can differ.
        """
        mine, theirs = str(self).split(":"), str(other).split(":")
        return len(mine) == len(theirs) and all(map(_parts_meet, mine, theirs))


def is_id_text(text: str) -> bool:
    """Say whether a text can be an id in a key."""
    return _ID.fullmatch(text) is not None


def glob_escape(text: str) -> str:
    """Return a text in which nothing is special to Redis' `MATCH`."""
    return _GLOB_SPECIAL.sub(r"\\\1", text)


def _parts_meet(one: str, other: str) -> bool:
    if PLACE not in one and PLACE not in other:
        return one == other
    if PLACE not in one:
        one, other = other, one
    before, _, after = one.partition(PLACE)
    if PLACE not in other:
        fits = len(other) > len(before) + len(after)
        return fits and other.startswith(before) and other.endswith(after)
    before_2, _, after_2 = other.partition(PLACE)
    heads_agree = before.startswith(before_2) or before_2.startswith(before)
    return heads_agree and (after.endswith(after_2) or after_2.endswith(after))
