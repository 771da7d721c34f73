"""What is written comes back as it was; what would not is refused, with its place and what to do."""

import array
import collections
import dataclasses
import enum
import fractions
import struct
import types
import zoneinfo
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
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
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.package.serializers.values import NAIVE, PLAIN, SERIALIZER, VALUES, ZONES, there_and_back, told
from users.models import CustomUser
from warmer.context import own_write
from warmer.exceptions import UnsupportedValue
from warmer.serializers.django_redis import MARK
from warmer.serializers.packing import MAX_DEPTH


@settings(max_examples=500, deadline=None)
@given(VALUES)
def test_value__of_every_type__comes_back_as_it_was(value: Any) -> None:
    assert told(there_and_back(value)) == told(value)


@settings(max_examples=200, deadline=None)
@given(PLAIN | st.datetimes().map(lambda moment: moment.replace(tzinfo=UTC, fold=0)))
def test_value__plain__is_what_msgspec_writes(value: Any) -> None:
    written = SERIALIZER.dumps(value)
    assert written == MARK + msgspec.msgpack.encode(value)


@pytest.mark.parametrize(
    "value",
    [
        *(0.0, -0.0, float("inf"), float("-inf"), float("nan")),
        struct.unpack(">d", bytes.fromhex("7ff8000000000123"))[0],
        *(2**63 - 1, 2**64 - 1, -(2**63)),
        *("", "\0", "é€😀", b"", b"\xc1\x80x"),
        *((), ((),), [[], (), {}, set(), frozenset()]),
        {True: 1, 2: True, 3.0: False, None: None, (1, (2,)): 3, b"b": 4, frozenset({1}): 5},
        *({1: "int"}, {True: "bool"}, {1.0: "float"}),
        # Their order stays, too.
        *({"b": 1, "a": 2}, {(2,): 1, (1,): 2}, {"b": Decimal(1), "a": Decimal(2)}),
        {date(2026, 1, 1): date(1, 1, 1), datetime(2026, 1, 1, tzinfo=UTC): 1, Decimal("1.50"): 2},
        {UUID(int=0), UUID(int=2**128 - 1)},
        *(NAIVE, NAIVE.replace(fold=1)),
        *(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
        datetime(1960, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=UTC, fold=1),
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30, seconds=1, microseconds=2))),
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=-5), "EST")),
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")),
        *(time(1, 2, 3, 4), time(1, 2, tzinfo=UTC, fold=1), time(1, 2, tzinfo=ZoneInfo("Asia/Tokyo"))),
        *(timedelta.min, timedelta.max, timedelta(microseconds=-1)),
        *map(Decimal, ("0", "-0", "0.00", "1E+3", "1000", "-1.10", "NaN", "-NaN123", "sNaN", "-Infinity")),
        *(Decimal("1E-999999"), Decimal("1." + "123456789" * 20)),
        [{"id": 1, "at": datetime(2026, 1, 1, tzinfo=UTC)}, {"id": 2, "at": NAIVE}],
    ],
    ids=lambda value: told(value)[:40],
)
def test_value__at_an_edge__comes_back_as_it_was(value: Any) -> None:
    assert told(there_and_back(value)) == told(value)
    assert told(there_and_back([{"inner": (value,)}])) == told([{"inner": (value,)}])


@settings(max_examples=100, deadline=None)
@given(st.datetimes(timezones=ZONES))
def test_datetime__is_equal_and_keeps_its_offset(value: datetime) -> None:
    found = there_and_back(value)
    assert found == value
    assert found.utcoffset() == value.utcoffset()
    if isinstance(value.tzinfo, ZoneInfo):
        assert found.tzinfo is value.tzinfo  # the very object of this process


# -- refused ------------------------------------------------------------------------------------------
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


USE_PLAIN = "Use plain data"
HASHABLES_REFUSED: list[tuple[Any, str, str]] = [
    *[
        (kind("Own", {"ONE": value}).ONE, ".Own", "Give its .value.")
        for kind, value in [(enum.Enum, "red"), (enum.IntEnum, 1), (enum.StrEnum, "yes"), (enum.IntFlag, 1)]
    ],
    (mark_safe("<b>"), "django.utils.safestring.SafeString", 'Add "" to it, '),
    (own(str, "a"), "test_values.Own", "Use str(...)."),
    (own(int, 1), "test_values.Own", "Use int(...)."),
    (own(float, 1.5), "test_values.Own", "Use float(...)."),
    (own(bytes, b"a"), "test_values.Own", "Use bytes(...)."),
    (Pair(1, 2), "test_values.Pair", "Use tuple(...)."),
    (own(frozenset, {1}), "test_values.Own", "Use frozenset(...)."),
    (own(datetime, 2026, 1, 1), "test_values.Own", "Use its own class"),
    (own(date, 2026, 1, 1), "test_values.Own", USE_PLAIN),
    (own(time, 1), "test_values.Own", "Use its own class"),
    (own(timedelta, 1), "test_values.Own", USE_PLAIN),
    (own(Decimal, 1), "test_values.Own", USE_PLAIN),
    (own(UUID, int=1), "test_values.Own", USE_PLAIN),
    (datetime(2026, 1, 1, tzinfo=Zone()), "datetime.datetime", "in UTC"),
    (time(1, tzinfo=Zone()), "datetime.time", "in UTC"),
    (Point(), "test_values.Point", USE_PLAIN),
    (Struct(), "test_values.Struct", USE_PLAIN),
    (Thing(), "test_values.Thing", USE_PLAIN),
    (Thing, "builtins.type", USE_PLAIN),
    (len, "builtins.builtin_function_or_method", USE_PLAIN),
    (complex(1, 2), "builtins.complex", USE_PLAIN),
    (range(3), "builtins.range", USE_PLAIN),
    (fractions.Fraction(1, 3), "fractions.Fraction", USE_PLAIN),
    (Path("/tmp"), "PosixPath", USE_PLAIN),  # whose module differs between versions of Python
    (gettext_lazy("Yes"), "django.utils.functional.", "which translates it now"),
    (..., "builtins.ellipsis", USE_PLAIN),
    (CustomUser(id=1, username="ada"), "users.models.CustomUser", "the rows of .values()"),
]
OTHERS_REFUSED: list[tuple[Any, str, str]] = [
    (collections.OrderedDict(a=1), "collections.OrderedDict", "Use dict(...)."),
    (collections.defaultdict(list, a=[]), "collections.defaultdict", "Use dict(...)."),
    (collections.deque([1]), "collections.deque", USE_PLAIN),
    (types.MappingProxyType({}), "builtins.mappingproxy", USE_PLAIN),
    (own(list, [1]), "test_values.Own", "Use list(...)."),
    (own(dict, a=1), "test_values.Own", "Use dict(...)."),
    (own(set, {1}), "test_values.Own", "Use set(...)."),
    (bytearray(b"a"), "builtins.bytearray", USE_PLAIN),
    (array.array("i", [1]), "array.array", USE_PLAIN),
    ({}.keys(), "builtins.dict_keys", USE_PLAIN),
    ((each for each in "ab"), "builtins.generator", USE_PLAIN),
    (msgspec.Raw(b"\x01"), "msgspec.Raw", USE_PLAIN),
    (msgspec.msgpack.Ext(5, b""), "msgspec.msgpack.Ext", USE_PLAIN),
    (SimpleLazyObject(lambda: "lazy"), "django.utils.functional.SimpleLazyObject", USE_PLAIN),
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
    assert "in UTC" in refusal([datetime(2026, 1, 1, tzinfo=zone)])


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800 alone", {2**70: "a"}, {"\ud800": 1}, (2**70,)])
def test_refused__what_messagepack_has_no_place_for(value: Any) -> None:
    assert "more than 64 bits" in refusal(value)
    assert "more than 64 bits" in refusal([{"inner": (value,)}])


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
