"""What would not come back as it was is refused: named, with its place and what to do."""

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

from tests.package.serializers.values import NAIVE, SERIALIZER, there_and_back
from users.models import CustomUser
from warmer.context import own_write
from warmer.exceptions import UnsupportedValue
from warmer.serializers.packing import MAX_DEPTH


def refusal(value: Any) -> str:
    with own_write(), pytest.raises(UnsupportedValue) as caught:
        SERIALIZER.dumps(value)
    return str(caught.value)


def own(base: type, *arguments: Any, **options: Any) -> Any:
    """Return an instance of a subclass, `Own`."""
    return type("Own", (base,), {})(*arguments, **options)


class Pair(NamedTuple):
    left: int
    right: int


class Zone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1)


@dataclasses.dataclass(frozen=True)
class Point:
    x: int = 1


class Struct(msgspec.Struct, frozen=True):
    x: int = 1


class Thing:
    pass


PLAIN = "Use plain data"
HASHABLES_REFUSED: list[tuple[Any, str, str]] = [
    *[
        (kind("Own", {"ONE": value}).ONE, ".Own", "Give its .value.")
        for kind, value in [(enum.Enum, "red"), (enum.IntEnum, 1), (enum.StrEnum, "yes"), (enum.IntFlag, 1)]
    ],
    (mark_safe("<b>"), "django.utils.safestring.SafeString", "Use str(...)."),
    (own(str, "a"), "test_refused.Own", "Use str(...)."),
    (own(int, 1), "test_refused.Own", "Use int(...)."),
    (own(float, 1.5), "test_refused.Own", "Use float(...)."),
    (own(bytes, b"a"), "test_refused.Own", "Use bytes(...)."),
    (Pair(1, 2), "test_refused.Pair", "Use tuple(...)."),
    (own(frozenset, {1}), "test_refused.Own", "Use frozenset(...)."),
    (own(datetime, 2026, 1, 1), "test_refused.Own", PLAIN),
    (own(datetime, 2026, 1, 1, tzinfo=UTC), "test_refused.Own", PLAIN),
    (own(date, 2026, 1, 1), "test_refused.Own", PLAIN),
    (own(time, 1), "test_refused.Own", PLAIN),
    (own(timedelta, 1), "test_refused.Own", PLAIN),
    (own(Decimal, 1), "test_refused.Own", PLAIN),
    (own(UUID, int=1), "test_refused.Own", PLAIN),
    (datetime(2026, 1, 1, tzinfo=Zone()), "datetime.datetime", "convert it to UTC."),
    (time(1, tzinfo=Zone()), "datetime.time", "convert it to UTC."),
    (Point(), "test_refused.Point", "Use dataclasses.asdict(...)."),
    (Struct(), "test_refused.Struct", PLAIN),
    (Thing(), "test_refused.Thing", PLAIN),
    (Thing, "builtins.type", PLAIN),
    (len, "builtins.builtin_function_or_method", PLAIN),
    (complex(1, 2), "builtins.complex", PLAIN),
    (range(3), "builtins.range", PLAIN),
    (fractions.Fraction(1, 3), "fractions.Fraction", PLAIN),
    (Path("/tmp"), "PosixPath", PLAIN),  # whose module differs between versions of Python
    (gettext_lazy("Yes"), "django.utils.functional.", "which translates it now"),
    (..., "builtins.ellipsis", PLAIN),
    (CustomUser(id=1, username="ada"), "users.models.CustomUser", "the rows of .values()"),
]
OTHERS_REFUSED: list[tuple[Any, str, str]] = [
    (collections.OrderedDict(a=1), "collections.OrderedDict", "Use dict(...)."),
    (collections.defaultdict(list, a=[]), "collections.defaultdict", "Use dict(...)."),
    (collections.deque([1]), "collections.deque", PLAIN),
    (types.MappingProxyType({}), "builtins.mappingproxy", PLAIN),
    (own(list, [1]), "test_refused.Own", "Use list(...)."),
    (own(dict, a=1), "test_refused.Own", "Use dict(...)."),
    (own(set, {1}), "test_refused.Own", "Use set(...)."),
    (bytearray(b"a"), "builtins.bytearray", "Use bytes(...)."),
    (memoryview(b"a"), "builtins.memoryview", "Use bytes(...)."),
    (array.array("i", [1]), "array.array", PLAIN),
    ({}.keys(), "builtins.dict_keys", PLAIN),
    ((each for each in "ab"), "builtins.generator", PLAIN),
    (msgspec.Raw(b"\x01"), "msgspec.Raw", PLAIN),
    (msgspec.msgpack.Ext(5, b""), "msgspec.msgpack.Ext", PLAIN),
    (SimpleLazyObject(lambda: "lazy"), "django.utils.functional.SimpleLazyObject", "the wrapped object"),
    (CustomUser.objects.all(), "django.db.models.query.QuerySet", "the rows of .values()"),
    (CustomUser.objects.values("id"), "django.db.models.query.QuerySet", "the rows of .values()"),
]
named = partial(pytest.mark.parametrize, ids=lambda given: given if isinstance(given, str) else "")


def assert_refused(holder: Any, place: str, kind: str, advice: str) -> None:
    said = refusal(holder)
    assert f"at {place} it holds a " in said
    assert kind in said
    assert advice in said


@named(("value", "kind", "advice"), [*HASHABLES_REFUSED, *OTHERS_REFUSED])
def test_refused__is_named_with_its_place_and_what_to_do(value: Any, kind: str, advice: str) -> None:
    assert "it is a " in refusal(value)
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
        assert_refused(holder, place, kind, advice)


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
        assert_refused(holder, place, kind, advice)


def test_refused__is_a_type_error_that_does_not_tell_the_value() -> None:
    for value in ({"password": own(str, "secret"), "x": 1}, {"a": {"secret" * 20: own(str, "x")}}):
        assert "secret" not in refusal(value)
    assert issubclass(UnsupportedValue, TypeError)


def test_refused__a_zone_without_a_key() -> None:
    sources = [Path(folder) / "Europe" / "Berlin" for folder in zoneinfo.TZPATH]
    with next(source for source in sources if source.exists()).open("rb") as file:
        zone = ZoneInfo.from_file(file)
    assert "convert it to UTC" in refusal([datetime(2026, 1, 1, tzinfo=zone)])


def test_refused__what_holds_itself() -> None:
    items: list[Any] = []
    items += [items, items]
    table: dict[str, Any] = {"price": Decimal(1)}
    table["again"] = [table, table]
    assert "contains itself" in refusal(items)
    assert "contains itself" in refusal(table)


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
