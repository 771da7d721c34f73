"""MessagePack extension types for other Python types: encoded exactly, or rejected with the reason."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Model, QuerySet
from django.utils.functional import Promise
from django.utils.safestring import SafeString
from msgspec.msgpack import Decoder, Encoder, Ext

from warmer.exceptions import UnsupportedValue

ENCODE = Encoder().encode

# Types that MessagePack returns unchanged, or rejects: an int beyond 64 bits, a str with lone surrogates.
SCALARS: frozenset[type] = frozenset((str, int, float, bool, type(None), bytes))
# A reader may be deeper in the stack than the writer, so stay far from the limits of both.
MAX_DEPTH = 100

# The codes are part of the format: new ones may be added, but existing ones never change.
TUPLE, SET, FROZENSET, PAIRS, DATETIME, DATE, TIME, TIMEDELTA, DECIMAL, UUID_ = range(3, 13)


class Refused(Exception):
    """A value cannot be encoded exactly. Its argument is the value, or the offending part of it."""


def _packed(value: Any, depth: int = 0) -> Any:
    """Return what msgspec encodes exactly, in place of a value; raise RecursionError beyond `MAX_DEPTH`."""
    if type(value) in SCALARS:
        return value
    if (packer := PACKERS.get(type(value))) is None:
        raise Refused(value)
    return packer(value, depth)


def _list(values: Iterable[Any], depth: int) -> list[Any]:
    if depth == MAX_DEPTH:
        raise RecursionError
    return [value if type(value) in SCALARS else _packed(value, depth + 1) for value in values]


def _dict(value: dict[Any, Any], depth: int) -> Any:
    if SCALARS.issuperset(map(type, value)):
        return dict(zip(value, _list(value.values(), depth), strict=True))
    return _array(PAIRS, chain.from_iterable(value.items()), depth)


def _array(code: int, values: Iterable[Any], depth: int) -> Ext:
    return Ext(code, ENCODE(_list(values, depth)))


def _clock(code: int, value: datetime | time) -> Ext:
    return Ext(code, ENCODE((value.replace(tzinfo=None).isoformat(), value.fold, _zone(value))))


PACKERS: Mapping[type, Callable[[Any, int], Any]] = {
    list: _list,
    dict: _dict,
    tuple: partial(_array, TUPLE),
    set: partial(_array, SET),
    frozenset: partial(_array, FROZENSET),
    datetime: lambda value, _: value if is_native(value) else _clock(DATETIME, value),
    date: lambda value, _: Ext(DATE, value.isoformat().encode()),
    time: lambda value, _: _clock(TIME, value),
    timedelta: lambda value, _: Ext(TIMEDELTA, ENCODE(_parts(value))),
    Decimal: lambda value, _: Ext(DECIMAL, str(value).encode()),
    UUID: lambda value, _: Ext(UUID_, value.bytes),
}


def is_native(value: Any) -> bool:
    """Return whether it is a datetime for which MessagePack has a type: in UTC, to the nanosecond."""
    return type(value) is datetime and value.tzinfo is UTC and not value.fold


def _zone(value: datetime | time) -> Any:
    """Return the representation of a time zone: nothing, its key, or its offset and optionally its name."""
    zone = value.tzinfo
    if zone is None:
        return None
    if type(zone) is timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # what pickle asks for
        return [*_parts(offset), *name]
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    raise Refused(value)


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

# It raises many kinds of errors for data that `pack` did not produce.
DECODE: Callable[[bytes | memoryview], Any] = Decoder(
    ext_hook=lambda code, data: UNPACKERS[code](data)
).decode

# The advice for values of a class or its subclasses; the first match counts.
ADVICE: dict[Any, str] = {
    Enum: "Give its .value.",
    (Model, QuerySet): "Use plain data, e.g. the rows of .values().",
    Promise: "Use str(...), which translates it now.",
    (datetime, time): "Use its own class, in UTC or with a timezone or a ZoneInfo with a key.",
    SafeString: 'Add "" to it, because str(...) returns it unchanged, and call mark_safe() on what you read.',
} | {
    kind: f"Use {kind.__name__}(...)." for kind in (int, float, str, bytes, dict, list, tuple, set, frozenset)
}
OTHER = "Use plain data: dicts, lists, strings, numbers, dates."


def pack(value: Any) -> bytes:
    """Encode a value with types that MessagePack does not return unchanged.

    Raises:
        UnsupportedValue: it contains something that would come back changed; says what to write instead.
    """
    try:
        return ENCODE(_packed(value))
    except Refused as error:
        [refused] = error.args
        kind, place = type(refused), next((place for place, part in _walk(value) if part is refused), "")
        advice = next((each for base, each in ADVICE.items() if issubclass(kind, base)), OTHER)
        name = f"{kind.__module__}.{kind.__qualname__}"
        start = f"at {place} it holds" if place else "it is"
        what = f"{start} a {name}, which would come back as something else"
    except (OverflowError, UnicodeEncodeError):
        name, advice = "unencodable", "Use Decimal(...) or bytes."
        what = "it holds an int of more than 64 bits, or a str with half of a surrogate pair"
    except RecursionError:
        name, advice = "nested", "Make it flatter."
        what = f"it is nested more than {MAX_DEPTH} levels deep, or contains itself"
    raise UnsupportedValue(f"A value cannot be cached: {what}. {advice}", what=what, kind=name)


def _walk(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a value and everything in it, as packed, each with its place in Python notation."""
    yield place, value
    if type(value) is dict:
        for number, (key, item) in enumerate(value.items()):
            is_short = type(key) is int or (type(key) is str and len(key) <= 60)
            yield from _walk(key, f"{place}[key {number + 1}]")
            yield from _walk(item, f"{place}[{repr(key) if is_short else f'a {type(key).__name__}'}]")
    elif type(value) in (list, tuple, set, frozenset):
        is_ordered = type(value) in (list, tuple)
        for number, item in enumerate(value):
            yield from _walk(item, f"{place}[{number if is_ordered else 'an element'}]")
