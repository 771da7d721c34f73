"""A serializer for django-redis, which gives back exactly what was written, and a compressor.

    "OPTIONS": {
        "SERIALIZER": "warmer.serializers.MsgspecSerializer",
        "COMPRESSOR": "warmer.serializers.LongValueCompressor",
    }

msgspec writes much that MessagePack does not have as something else: a tuple as an array, an enum as its
value, a Decimal as text. So what it wrote counts only when every type in the value is one that it gives
back as it was; else the value is packed once more by `Packer`, or refused. What that look costs, and what
others would: docs/decisions/0007-serializer.md.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable
from datetime import datetime, time
from enum import Enum
from gc import get_referents
from importlib.util import find_spec
from typing import Any

from django.db.models import Model, QuerySet
from django.utils.functional import LazyObject, Promise

from warmer.exceptions import UnreadableValue, UnsupportedValue
from warmer.serializers.packing import (
    ALWAYS,
    DECODE,
    ENCODE,
    LARGEST,
    MAX_DEPTH,
    SCALARS,
    Packer,
    Refused,
    TooDeep,
    is_native,
)

# The one byte that begins no MessagePack, no UTF-8 text and no pickle, nor anything that a compressor or
# django-redis, for its bare numbers, writes.
MARK = b"\xc1"

# The first byte of everything that `zlib.compress` returns.
ZLIB_MARK = b"x"

CONTAINERS = frozenset((dict, list))
# What gives a plain value of a subclass, most special first.
BASES = (bool, int, float, str, bytes, dict, list, tuple, set, frozenset)

if find_spec("django_redis"):
    from django_redis.exceptions import ConnectionInterrupted

    class _Unreadable(UnreadableValue, ConnectionInterrupted):  # type: ignore[misc]
        """What django-redis takes for a miss, as it does a server that is away: `IGNORE_EXCEPTIONS`."""

        connection = None

        def __str__(self) -> str:
            return str(self.args[0])
else:  # pragma: no cover - the test environment has it
    _Unreadable = UnreadableValue  # type: ignore[assignment,misc]


class MsgspecSerializer:
    """Encodes plain data exactly: its types, those of its keys, and every bit of its numbers.

    Carried are str, bytes, int, float, bool, None, list, tuple, dict with any keys, set, frozenset,
    datetime, date, time, timedelta, Decimal and UUID; no subclasses. A datetime keeps its wall time, its
    fold, and its zone if that is a `timezone` or a `ZoneInfo` with a key.
    """

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        """Accept django-redis' options and ignore them."""

    def dumps(self, value: Any) -> bytes:
        """Encode a value.

        Raises:
            UnsupportedValue: it holds something that would come back changed.
        """
        try:
            # First, as it ends for a value that holds itself.
            encoded = ENCODE(value)
        except Exception:  # noqa: BLE001 - the second look says what it is
            return MARK + _packed(value)
        kind = type(value)
        if kind in CONTAINERS:
            level = get_referents(value)
            # The shortcut saves a quarter of the time for a flat row.
            if SCALARS.issuperset(map(type, level)) or _is_exact(level):
                return MARK + encoded
        elif kind in SCALARS:
            return MARK + encoded
        return MARK + _packed(value)

    def loads(self, value: bytes) -> Any:
        """Decode what `dumps` gave.

        Raises:
            UnreadableValue: it is something else, e.g. written by another serializer.
        """
        if value[:1] != MARK:
            raise _unreadable("it was written by another serializer")
        try:
            return DECODE(value[1:])
        except Exception as error:
            raise _unreadable(f"it is damaged ({type(error).__name__})") from error


class LongValueCompressor:
    """Compresses values from `min_length` bytes on, when that makes them shorter.

    On a value of some hundred bytes zlib takes longer than everything else that a write does, and saves next
    to nothing. The figures: docs/decisions/0007-serializer.md.

    A value that itself begins with the mark is compressed in any case, so that none is taken for what it
    is not. It reads what django-redis' `ZlibCompressor` wrote, and the other way round.

    Attributes:
        min_length: the shortest value that is compressed, in bytes.
        level: as of zlib; above 1 the time doubles for a few hundredths of the size.
    """

    min_length = 1024
    level = 1

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        """Accept django-redis' options and ignore them."""

    def compress(self, value: bytes) -> bytes:
        """Return the value, or what `decompress` makes it of."""
        has_mark = value[:1] == ZLIB_MARK
        if len(value) < self.min_length and not has_mark:
            return value
        compressed = zlib.compress(value, self.level)
        return compressed if has_mark or len(compressed) < len(value) else value

    def decompress(self, value: bytes) -> bytes:
        """Decompress a value. Return other or damaged data unchanged: the serializer refuses it."""
        if value[:1] != ZLIB_MARK:
            return value
        try:
            return zlib.decompress(value)
        except zlib.error:
            return value


def _is_exact(level: list[Any]) -> bool:
    """Return whether msgspec decodes these items, and all that they hold, unchanged.

    Args:
        level: the items of lists, the values of dicts and those of their keys that may not be str.

    CPython's dict knows when all its keys are exactly str. The garbage collector then skips them, and so
    does `get_referents`: the look costs a type and a set for each value, at the speed of C.
    """
    for _ in range(MAX_DEPTH):
        if SCALARS.issuperset(map(type, level)):
            return True
        if CONTAINERS.issuperset(map(type, level)):
            inner = level
        else:
            inner = []
            for item in level:
                kind = type(item)
                if kind in CONTAINERS:
                    inner.append(item)
                elif kind not in SCALARS and (kind is not datetime or not is_native(item)):
                    return False
        level = get_referents(*inner)
    return False


def _packed(value: Any) -> bytes:
    try:
        try:
            return ENCODE(Packer(SCALARS).pack(value))
        except (OverflowError, UnicodeEncodeError):
            # An int of more than 64 bits or a str with surrogates: look at each of them.
            return ENCODE(Packer(ALWAYS).pack(value))
    except Refused as error:
        refused = error.value
    except (TooDeep, RecursionError):
        raise UnsupportedValue(
            f"A value cannot be cached: it is nested more than {MAX_DEPTH} levels deep, or holds itself. "
            "Make it flatter."
        ) from None
    kind = type(refused)
    place = _place(refused, value)
    raise UnsupportedValue(
        f"A value cannot be cached: {f'at {place} it holds' if place else 'it is'} a "
        f"{kind.__module__}.{kind.__qualname__}, which would come back as something else. {_advice(refused)}"
    )


def _place(refused: Any, value: Any) -> str:
    """Return where a part of a value is, as one writes it in Python."""
    if value is refused:
        return ""
    steps: Iterable[tuple[str, Any]] = ()
    if type(value) is dict:
        steps = [
            step
            for number, key in enumerate(value)
            for step in ((f"[key {number + 1}]", key), (f"[{_shown(key)}]", value[key]))
        ]
    elif type(value) in (list, tuple):
        steps = [(f"[{number}]", item) for number, item in enumerate(value)]
    elif type(value) in (set, frozenset):
        steps = [("[an element]", item) for item in value]
    for step, item in steps:
        if item is refused:
            return step
        if deeper := _place(refused, item):
            return step + deeper
    return ""


def _shown(key: Any) -> str:
    if (type(key) is str and len(key) <= 60) or (type(key) is int and abs(key) <= LARGEST):
        return repr(key)
    return f"a {type(key).__name__}"


def _advice(refused: Any) -> str:
    """Return what to write instead of a value that is refused."""
    kind = type(refused)
    if issubclass(kind, Enum):
        return "Give its .value."
    if issubclass(kind, Model | QuerySet):
        return "Give plain data, e.g. the rows of .values()."
    if issubclass(kind, Promise):
        return "Give str(...) of it, which translates it now."
    if issubclass(kind, LazyObject):
        return "Give plain data of what is behind it."
    if kind in (datetime, time):
        return "Its tzinfo is neither a datetime.timezone nor a ZoneInfo with a key: give it in UTC."
    if kind in (bytearray, memoryview):
        return "Give bytes(...) of it."
    if dataclasses.is_dataclass(kind):
        return "Give dataclasses.asdict(...) of it."
    for base in BASES:
        if issubclass(kind, base):
            return f"Give {base.__name__}(...) of it."
    return "Give plain data: dicts, lists, strings, numbers, dates."


def _unreadable(why: str) -> UnreadableValue:
    message = f"A cached value cannot be read: {why}."
    error: UnreadableValue = _Unreadable(message)
    # Where errors are not ignored, django-redis raises the cause in place of its own error.
    error.__cause__ = UnreadableValue(message)
    return error
