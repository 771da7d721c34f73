"""MessagePack extension types for other Python types: encoded exactly, or rejected with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Model, QuerySet
from django.utils.functional import LazyObject, Promise
from django.utils.safestring import SafeString
from msgspec.msgpack import Decoder, Encoder, Ext

from warmer.exceptions import UnsupportedValue

ENCODE = Encoder().encode

# Types that MessagePack returns unchanged: int up to 64 bits, str that UTF-8 can encode.
SCALARS: frozenset[type] = frozenset((str, int, float, bool, type(None), bytes))
# Those without such conditions.
ALWAYS = SCALARS - {str, int}
SMALLEST, LARGEST = -(2**63), 2**64 - 1
# A reader may be deeper in the stack than the writer, so stay far from the limits of both.
MAX_DEPTH = 100

# The codes are part of the format: new ones may be added, but existing ones never change.
INT, STR, TUPLE, SET, FROZENSET, PAIRS, DATETIME, DATE, TIME, TIMEDELTA, DECIMAL, UUID_ = range(1, 13)


class Refused(Exception):
    """A value cannot be encoded exactly. Its argument is the value, or the offending part of it."""


class Packer:
    """Converts a value to one that msgspec encodes exactly.

    Args:
        plain: the types to leave unchanged: `SCALARS`, or `ALWAYS` if that was not enough.
    """

    def __init__(self, plain: frozenset[type]) -> None:
        self._plain = plain
        self._depth = 0

    def pack(self, value: Any) -> Any:
        """Return the object to encode in place of a value.

        Raises:
            Refused: it contains an unsupported type.
            RecursionError: it is nested deeper than `MAX_DEPTH`, perhaps because it contains itself.
        """
        kind = type(value)
        if kind in self._plain:
            return value
        pack = PACKERS.get(kind)
        if pack is None:
            raise Refused(value)
        return pack(self, value)

    def pack_list(self, values: Iterable[Any]) -> list[Any]:
        if self._depth == MAX_DEPTH:
            raise RecursionError
        self._depth += 1
        plain, pack = self._plain, self.pack
        packed = [value if type(value) in plain else pack(value) for value in values]
        self._depth -= 1
        return packed

    def pack_dict(self, value: dict[Any, Any]) -> Any:
        if self._plain.issuperset(map(type, value)):
            return dict(zip(value, self.pack_list(value.values()), strict=True))
        return self.pack_array(PAIRS, (part for pair in value.items() for part in pair))

    def pack_array(self, code: int, values: Iterable[Any]) -> Ext:
        return Ext(code, ENCODE(self.pack_list(values)))

    def pack_str(self, value: str) -> str | Ext:
        try:
            value.encode()
        except UnicodeEncodeError:
            return Ext(STR, value.encode(errors="surrogatepass"))
        return value

    def pack_int(self, value: int) -> int | Ext:
        if SMALLEST <= value <= LARGEST:
            return value
        return Ext(INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))

    def pack_datetime(self, value: datetime) -> datetime | Ext:
        return value if is_native(value) else _pack_clock(DATETIME, value)


def _pack_clock(code: int, value: datetime | time) -> Ext:
    return Ext(code, ENCODE((value.replace(tzinfo=None).isoformat(), value.fold, _zone(value, value.tzinfo))))


PACKERS: Mapping[type, Callable[[Packer, Any], Any]] = {
    str: Packer.pack_str,
    int: Packer.pack_int,
    list: Packer.pack_list,
    dict: Packer.pack_dict,
    tuple: lambda packer, value: packer.pack_array(TUPLE, value),
    set: lambda packer, value: packer.pack_array(SET, value),
    frozenset: lambda packer, value: packer.pack_array(FROZENSET, value),
    datetime: Packer.pack_datetime,
    date: lambda packer, value: Ext(DATE, value.isoformat().encode()),
    time: lambda packer, value: _pack_clock(TIME, value),
    timedelta: lambda packer, value: Ext(TIMEDELTA, ENCODE(_parts(value))),
    Decimal: lambda packer, value: Ext(DECIMAL, str(value).encode()),
    UUID: lambda packer, value: Ext(UUID_, value.bytes),
}


def is_native(value: datetime) -> bool:
    """Return whether MessagePack has a type for it: a time in UTC, to the nanosecond."""
    return value.tzinfo is UTC and not value.fold


def _zone(holder: datetime | time, zone: tzinfo | None) -> Any:
    """Return the representation of a time zone: nothing, its key, or its offset and optionally its name."""
    if zone is None:
        return None
    if type(zone) is timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # what pickle asks for
        return [*_parts(offset), *name]
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    raise Refused(holder)


def _zone_of(packed: Any) -> tzinfo | None:
    if packed is None:
        return None
    if isinstance(packed, str):
        return ZoneInfo(packed)
    days, seconds, microseconds, *name = packed
    return timezone(timedelta(days, seconds, microseconds), *name)


def _parts(value: timedelta) -> tuple[int, int, int]:
    return value.days, value.seconds, value.microseconds


def _clock_of(kind: type[Any], data: memoryview) -> Any:
    bare, fold, zone = DECODE(data)
    return kind.fromisoformat(bare).replace(fold=fold, tzinfo=_zone_of(zone))


def _dict_of(data: memoryview) -> dict[Any, Any]:
    parts = DECODE(data)
    return dict(zip(parts[::2], parts[1::2], strict=True))


UNPACKERS: Mapping[int, Callable[[memoryview], Any]] = {
    INT: lambda data: int.from_bytes(data, "big", signed=True),
    STR: lambda data: str(data, "utf-8", "surrogatepass"),
    TUPLE: lambda data: tuple(DECODE(data)),
    SET: lambda data: set(DECODE(data)),
    FROZENSET: lambda data: frozenset(DECODE(data)),
    PAIRS: _dict_of,
    DATETIME: partial(_clock_of, datetime),
    DATE: lambda data: date.fromisoformat(str(data, "ascii")),
    TIME: partial(_clock_of, time),
    TIMEDELTA: lambda data: timedelta(*DECODE(data)),
    DECIMAL: lambda data: Decimal(str(data, "ascii")),
    UUID_: lambda data: UUID(bytes=bytes(data)),
}

# It raises many kinds of errors for data that `Packer` did not produce.
DECODE: Callable[[bytes | memoryview], Any] = Decoder(
    ext_hook=lambda code, data: UNPACKERS[code](data)
).decode

# The advice for values of a class or its subclasses; the first match counts.
ADVICE: dict[Any, str] = {
    Enum: "Give its .value.",
    (Model, QuerySet): "Use plain data, e.g. the rows of .values().",
    Promise: "Use str(...), which translates it now.",
    LazyObject: "Use plain data of the wrapped object.",
    (bytearray, memoryview): "Use bytes(...).",
    SafeString: 'Add "" to it, because str(...) returns it unchanged, and call mark_safe() on what you read.',
} | {
    kind: f"Use {kind.__name__}(...)."
    for kind in (bool, int, float, str, bytes, dict, list, tuple, set, frozenset)
}


def pack(value: Any) -> bytes:
    """Encode a value with types that MessagePack does not return unchanged.

    Raises:
        UnsupportedValue: it contains something that would come back changed; says what to write instead.
    """
    try:
        try:
            return ENCODE(Packer(SCALARS).pack(value))
        except (OverflowError, UnicodeEncodeError):
            # An int of more than 64 bits or a str with surrogates: check each of them.
            return ENCODE(Packer(ALWAYS).pack(value))
    except Refused as error:
        [refused] = error.args
        kind, place = type(refused), next((place for place, part in _walk(value) if part is refused), "")
        name, advice = f"{kind.__module__}.{kind.__qualname__}", _advice(kind)
        start = f"at {place} it holds" if place else "it is"
        what = f"{start} a {name}, which would come back as something else"
    except RecursionError:
        name, advice = "nested", "Make it flatter."
        what = f"it is nested more than {MAX_DEPTH} levels deep, or contains itself"
    raise UnsupportedValue(f"A value cannot be cached: {what}. {advice}", what=what, kind=name)


def _walk(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a value and everything in it, as packed, each with its place in Python notation."""
    yield place, value
    if type(value) is dict:
        for number, (key, item) in enumerate(value.items()):
            yield from _walk(key, f"{place}[key {number + 1}]")
            yield from _walk(item, f"{place}[{_shown(key)}]")
    elif type(value) in (list, tuple):
        for number, item in enumerate(value):
            yield from _walk(item, f"{place}[{number}]")
    elif type(value) in (set, frozenset):
        for item in value:
            yield from _walk(item, f"{place}[an element]")


def _shown(key: Any) -> str:
    if (type(key) is str and len(key) <= 60) or (type(key) is int and abs(key) <= LARGEST):
        return repr(key)
    return f"a {type(key).__name__}"


def _advice(kind: type) -> str:
    """Return what to write instead of a value of a type."""
    if kind in (datetime, time):
        return "Its tzinfo is neither a datetime.timezone nor a ZoneInfo with a key: convert it to UTC."
    if dataclasses.is_dataclass(kind):
        return "Use dataclasses.asdict(...)."
    other = "Use plain data: dicts, lists, strings, numbers, dates."
    return next((advice for base, advice in ADVICE.items() if issubclass(kind, base)), other)
