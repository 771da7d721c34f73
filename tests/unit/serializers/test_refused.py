"""What would not come back as it was is refused: named, with its place and what to do."""

from __future__ import annotations

import array
import collections
import dataclasses
import enum
import fractions
import types
import zoneinfo
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from tests.unit.serializers.values import NAIVE, SERIALIZER, there_and_back
from users.models import CustomUser
from warmer.exceptions import UnsupportedValue
from warmer.serializers.packing import MAX_DEPTH


def refusal(value: Any) -> str:
    with pytest.raises(UnsupportedValue) as caught:
        SERIALIZER.dumps(value)
    return str(caught.value)


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Fraction(float):
    pass


class Raw(bytes):
    pass


class Items(list[Any]):
    pass


class Mapped(dict[Any, Any]):
    pass


class Pair(NamedTuple):
    left: int
    right: int


class Moment(datetime):
    pass


class Day(date):
    pass


class Clock(time):
    pass


class Span(timedelta):
    pass


class Amount(Decimal):
    pass


class Mark(UUID):
    pass


class Elements(set[Any]):
    pass


class FrozenElements(frozenset[Any]):
    pass


class Zone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


class Flag(enum.IntFlag):
    ON = 1


@dataclasses.dataclass(frozen=True)
class Point:
    x: int = 1


class Struct(msgspec.Struct, frozen=True):
    x: int = 1


class Thing:
    pass


HASHABLES_REFUSED: list[tuple[Any, str, str]] = [
    (Colour.RED, "test_refused.Colour", "Give its .value."),
    (Level.LOW, "test_refused.Level", "Give its .value."),
    (Word.YES, "test_refused.Word", "Give its .value."),
    (Flag.ON, "test_refused.Flag", "Give its .value."),
    (mark_safe("<b>"), "django.utils.safestring.SafeString", "Give str(...) of it."),
    (Text("a"), "test_refused.Text", "Give str(...) of it."),
    (Number(1), "test_refused.Number", "Give int(...) of it."),
    (Fraction(1.5), "test_refused.Fraction", "Give float(...) of it."),
    (Raw(b"a"), "test_refused.Raw", "Give bytes(...) of it."),
    (Pair(1, 2), "test_refused.Pair", "Give tuple(...) of it."),
    (FrozenElements({1}), "test_refused.FrozenElements", "Give frozenset(...) of it."),
    (Moment(2026, 1, 1), "test_refused.Moment", "Give plain data"),
    (Moment(2026, 1, 1, tzinfo=UTC), "test_refused.Moment", "Give plain data"),
    (Day(2026, 1, 1), "test_refused.Day", "Give plain data"),
    (Clock(1), "test_refused.Clock", "Give plain data"),
    (Span(1), "test_refused.Span", "Give plain data"),
    (Amount(1), "test_refused.Amount", "Give plain data"),
    (Mark(int=1), "test_refused.Mark", "Give plain data"),
    (datetime(2026, 1, 1, tzinfo=Zone()), "datetime.datetime", "give it in UTC."),
    (time(1, tzinfo=Zone()), "datetime.time", "give it in UTC."),
    (Point(), "test_refused.Point", "Give dataclasses.asdict(...) of it."),
    (Struct(), "test_refused.Struct", "Give plain data"),
    (Thing(), "test_refused.Thing", "Give plain data"),
    (object(), "builtins.object", "Give plain data"),
    (Thing, "builtins.type", "Give plain data"),
    (len, "builtins.builtin_function_or_method", "Give plain data"),
    (complex(1, 2), "builtins.complex", "Give plain data"),
    (range(3), "builtins.range", "Give plain data"),
    (fractions.Fraction(1, 3), "fractions.Fraction", "Give plain data"),
    (Path("/tmp"), "pathlib.PosixPath", "Give plain data"),
    (gettext_lazy("Yes"), "django.utils.functional.", "which translates it now"),
    (..., "builtins.ellipsis", "Give plain data"),
    (CustomUser(id=1, username="ada"), "users.models.CustomUser", "the rows of .values()"),
]
OTHERS_REFUSED: list[tuple[Any, str, str]] = [
    (collections.OrderedDict(a=1), "collections.OrderedDict", "Give dict(...) of it."),
    (collections.defaultdict(list, a=[]), "collections.defaultdict", "Give dict(...) of it."),
    (collections.Counter("aab"), "collections.Counter", "Give dict(...) of it."),
    (collections.deque([1]), "collections.deque", "Give plain data"),
    (types.MappingProxyType({}), "builtins.mappingproxy", "Give plain data"),
    (Items([1]), "test_refused.Items", "Give list(...) of it."),
    (Mapped(a=1), "test_refused.Mapped", "Give dict(...) of it."),
    (Elements({1}), "test_refused.Elements", "Give set(...) of it."),
    (bytearray(b"a"), "builtins.bytearray", "Give bytes(...) of it."),
    (memoryview(b"a"), "builtins.memoryview", "Give bytes(...) of it."),
    (array.array("i", [1]), "array.array", "Give plain data"),
    ({}.keys(), "builtins.dict_keys", "Give plain data"),
    ((each for each in "ab"), "builtins.generator", "Give plain data"),
    (msgspec.Raw(b"\x01"), "msgspec.Raw", "Give plain data"),
    (msgspec.msgpack.Ext(5, b""), "msgspec.msgpack.Ext", "Give plain data"),
    (SimpleLazyObject(lambda: "lazy"), "django.utils.functional.SimpleLazyObject", "what is behind it"),
    (CustomUser.objects.all(), "django.db.models.query.QuerySet", "the rows of .values()"),
    (CustomUser.objects.values("id"), "django.db.models.query.QuerySet", "the rows of .values()"),
]
REFUSED = [*HASHABLES_REFUSED, *OTHERS_REFUSED]
named = partial(pytest.mark.parametrize, ids=lambda given: given if isinstance(given, str) else "")


@named(("value", "kind", "advice"), REFUSED)
def test_refused__is_named_with_its_place_and_what_to_do(value: Any, kind: str, advice: str) -> None:
    told = refusal(value)
    assert "it is a " in told
    assert f"{kind}" in told
    assert advice in told
    for holder, place in [
        ([1, "a", value], "[2]"),
        ({"row": value}, "['row']"),
        ({1: {"a": [0, value]}}, "[1]['a'][1]"),
        ({"rows": [{"id": 1}, {"id": 2, "x": value}]}, "['rows'][1]['x']"),
        ((0, (value,)), "[1][0]"),
        ([NAIVE, Decimal(1), {"x": value}], "[2]['x']"),
        ([2**70, {"x": value}], "[1]['x']"),
        (["\ud800", {"x": value}], "[1]['x']"),
        ({(1, 2): [value]}, "[a tuple][0]"),
    ]:
        told = refusal(holder)
        assert f"at {place} it holds a " in told
        assert kind in told
        assert advice in told


@named(("value", "kind", "advice"), HASHABLES_REFUSED)
def test_refused__as_a_key_or_an_element(value: Any, kind: str, advice: str) -> None:
    for holder, place in [
        ({value: 1}, "[key 1]"),
        ({"other": 1, value: 2}, "[key 2]"),
        ([{99: "a", value: 2}], "[0][key 2]"),
        ({(1, value): 2}, "[key 1][1]"),
        ({value}, "[an element]"),
        ([frozenset({value})], "[0][an element]"),
    ]:
        told = refusal(holder)
        assert f"at {place} it holds a " in told
        assert kind in told
        assert advice in told


def test_refused__is_a_type_error() -> None:
    with pytest.raises(TypeError):
        SERIALIZER.dumps(object())


def test_refused__does_not_tell_the_value() -> None:
    assert "secret" not in refusal({"password": Text("secret"), "x": 1})
    assert "secret" not in refusal({"a": {"secret" * 20: Text("x")}})


def test_refused__a_zone_without_a_key(tmp_path: Path) -> None:
    ZoneInfo("Europe/Berlin")
    for folder in zoneinfo.TZPATH:
        if (source := Path(folder) / "Europe" / "Berlin").exists():
            break
    with source.open("rb") as file:
        zone = ZoneInfo.from_file(file)
    assert "give it in UTC" in refusal([datetime(2026, 1, 1, tzinfo=zone)])


def test_refused__what_holds_itself() -> None:
    items: list[Any] = []
    items += [items, items]
    assert "holds itself" in refusal(items)
    table: dict[str, Any] = {"price": Decimal(1)}
    table["again"] = [table, table]
    assert "holds itself" in refusal(table)


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: (inner,)])
def test_depth__is_bounded_and_what_is_within_can_be_read(wrap: Any) -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = wrap(value)
    assert there_and_back(value) == value
    assert f"more than {MAX_DEPTH} levels deep" in refusal(wrap(value))
    for _ in range(5000):
        value = wrap(value)
    assert f"more than {MAX_DEPTH} levels deep" in refusal(value)
