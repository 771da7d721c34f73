"""Pack a value exactly, or explain which part cannot be packed, and what to write instead."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import datetime, time
from enum import Enum
from typing import Any

from django.db.models import Model, QuerySet
from django.utils.functional import LazyObject, Promise

from warmer.exceptions import UnsupportedValue
from warmer.serializers.packing import ALWAYS, ENCODE, LARGEST, MAX_DEPTH, SCALARS, Packer, Refused, TooDeep

# The advice for values of a class or its subclasses; the first match counts.
ADVICE: dict[Any, str] = {
    Enum: "Give its .value.",
    (Model, QuerySet): "Use plain data, e.g. the rows of .values().",
    Promise: "Use str(...), which translates it now.",
    LazyObject: "Use plain data of the wrapped object.",
    (bytearray, memoryview): "Use bytes(...).",
} | {
    kind: f"Use {kind.__name__}(...)."
    for kind in (bool, int, float, str, bytes, dict, list, tuple, set, frozenset)
}


def pack(value: Any) -> bytes:
    """Encode a value with types that MessagePack does not return unchanged.

    Raises:
        UnsupportedValue: it contains something that would come back changed.
    """
    try:
        try:
            return ENCODE(Packer(SCALARS).pack(value))
        except (OverflowError, UnicodeEncodeError):
            # An int of more than 64 bits or a str with surrogates: check each of them.
            return ENCODE(Packer(ALWAYS).pack(value))
    except Refused as error:
        refused = error.value
    except (TooDeep, RecursionError):
        what = f"it is nested more than {MAX_DEPTH} levels deep, or contains itself"
        raise _refusal(what, kind="nested", advice="Make it flatter.") from None
    kind, place = type(refused), _place(refused, value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    what = f"{f'at {place} it holds' if place else 'it is'} a {name}, which would come back as something else"
    raise _refusal(what, kind=name, advice=_advice(refused))


def _refusal(what: str, *, kind: str, advice: str) -> UnsupportedValue:
    return UnsupportedValue(f"A value cannot be cached: {what}. {advice}", what=what, kind=kind)


def _place(refused: Any, value: Any) -> str:
    """Return the location of a part of a value, in Python notation."""
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
    """Return what to write instead of a rejected value."""
    kind = type(refused)
    if kind in (datetime, time):
        return "Its tzinfo is neither a datetime.timezone nor a ZoneInfo with a key: convert it to UTC."
    if dataclasses.is_dataclass(kind):
        return "Use dataclasses.asdict(...)."
    other = "Use plain data: dicts, lists, strings, numbers, dates."
    return next((advice for base, advice in ADVICE.items() if issubclass(kind, base)), other)
