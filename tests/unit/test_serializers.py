"""The serializer: what comes back is what was written, to the type and the bit, or it is refused."""

from __future__ import annotations

import array
import collections
import dataclasses
import enum
import fractions
import json
import pickle
import struct
import types
import zlib
import zoneinfo
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import msgspec
import pytest
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given, settings
from hypothesis import strategies as st

from users.models import CustomUser
from warmer.exceptions import UnreadableValue, UnsupportedValue
from warmer.packing import MAX_DEPTH
from warmer.serializers import MARK, MsgspecSerializer

SERIALIZER = MsgspecSerializer({})
NAIVE = datetime.fromisoformat("2026-01-01T01:02:03.000004")
EVERY_LETTER = st.text(st.characters(exclude_categories=()), max_size=20)
OFFSETS = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)
ZONES = (
    st.none()
    | st.just(UTC)
    | OFFSETS
    | st.builds(timezone, st.just(timedelta(hours=2)), st.text(max_size=5))
    | st.timezones()
)
HASHABLE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**80), max_value=2**80)
    | st.floats()
    | EVERY_LETTER
    | st.binary(max_size=20)
    | st.datetimes(timezones=ZONES)
    | st.dates()
    | st.times(timezones=ZONES)
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
)
SCALARS = HASHABLE | st.decimals()
KEYS = st.recursive(
    HASHABLE,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.sets(KEYS, max_size=4)
        | st.frozensets(KEYS, max_size=4)
    ),
    max_leaves=12,
)
# What a loader gives as a rule: rows.
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def there_and_back(value: Any) -> Any:
    return SERIALIZER.loads(SERIALIZER.dumps(value))


def told(value: Any) -> str:
    """Return all that there is to tell of a value: the types in it, and every bit."""
    kind = type(value)
    if kind is dict:
        inner = ", ".join(f"{told(key)}: {told(each)}" for key, each in value.items())
    elif kind in (list, tuple):
        inner = ", ".join(map(told, value))
    elif kind in (set, frozenset):
        inner = ", ".join(sorted(map(told, value)))
    elif kind is float:
        inner = struct.pack(">d", value).hex()
    elif kind is int:
        inner = hex(value)  # Python limits the digits of a decimal
    elif kind in (datetime, time):
        inner = f"{value!r} {value.fold} {told(value.tzinfo)} {value.utcoffset()}"
    else:
        inner = repr(value)
    return f"{kind.__name__}({inner})"


def refusal(value: Any) -> str:
    with pytest.raises(UnsupportedValue) as caught:
        SERIALIZER.dumps(value)
    return str(caught.value)


@settings(max_examples=500, deadline=None)
@given(VALUES)
def test_value__of_every_type__comes_back_as_it_was(value: Any) -> None:
    assert told(there_and_back(value)) == told(value)


@settings(max_examples=200, deadline=None)
@given(PLAIN)
def test_value__plain__is_what_msgspec_writes(value: Any) -> None:
    written = SERIALIZER.dumps(value)
    assert written == MARK + msgspec.msgpack.encode(value)
    assert told(SERIALIZER.loads(written)) == told(value)


@pytest.mark.parametrize(
    "value",
    [
        0.0,
        -0.0,
        float("inf"),
        float("-inf"),
        float("nan"),
        struct.unpack(">d", bytes.fromhex("7ff8000000000123"))[0],
        2**63 - 1,
        2**64 - 1,
        2**64,
        -(2**63),
        -(2**63) - 1,
        10**5000,
        -(10**5000),
        "",
        "\0",
        "\ud800 alone",
        "é€😀",
        b"",
        b"\xc1\x80x",
        (),
        ((),),
        [[], (), {}, set(), frozenset()],
        {True: 1, 2: True, 3.0: False, None: None, (1, (2,)): 3, b"b": 4, frozenset({1}): 5},
        {1: "int"},
        {True: "bool"},
        {1.0: "float"},
        {"a": (1, [2, (3,)])},
        {"\ud800": 2**70},
        {2**70: "\ud800"},
        {date(2026, 1, 1): date(1, 1, 1), datetime(2026, 1, 1, tzinfo=UTC): 1, Decimal("1.50"): 2},
        {UUID(int=0), UUID(int=2**128 - 1)},
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        datetime(1960, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=UTC, fold=1),
        NAIVE.replace(fold=1),
        NAIVE,
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30, seconds=1, microseconds=2))),
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=-5), "EST")),
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")),
        time(1, 2, 3, 4),
        time(1, 2, tzinfo=UTC, fold=1),
        time(1, 2, tzinfo=ZoneInfo("Asia/Tokyo")),
        timedelta.min,
        timedelta.max,
        timedelta(microseconds=-1),
        *map(
            Decimal,
            ("0", "-0", "0.00", "1E+3", "1000", "-1.10", "NaN", "-NaN123", "sNaN", "-Infinity", "1E-999999"),
        ),
        Decimal("1." + "123456789" * 20),
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


def test_zone__of_a_zoneinfo__is_the_very_object_of_this_process() -> None:
    zone = ZoneInfo("Europe/Berlin")
    assert there_and_back(datetime(2026, 1, 1, tzinfo=zone)).tzinfo is zone


def test_value__of_utc_moments__is_what_msgspec_writes() -> None:
    rows = [{"id": 1, "at": datetime(2026, 1, 1, 1, 2, 3, 4, tzinfo=UTC)}] * 3
    assert SERIALIZER.dumps(rows) == MARK + msgspec.msgpack.encode(rows)


def test_order__of_a_dict_stays() -> None:
    for value in ({"b": 1, "a": 2}, {(2,): 1, (1,): 2}, {"b": Decimal(1), "a": Decimal(2)}):
        assert list(there_and_back(value).items()) == list(value.items())


# -- What is refused -----------------------------------------------------------------------------


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
    (Colour.RED, "test_serializers.Colour", "Give its .value."),
    (Level.LOW, "test_serializers.Level", "Give its .value."),
    (Word.YES, "test_serializers.Word", "Give its .value."),
    (Flag.ON, "test_serializers.Flag", "Give its .value."),
    (mark_safe("<b>"), "django.utils.safestring.SafeString", "Give str(...) of it."),
    (Text("a"), "test_serializers.Text", "Give str(...) of it."),
    (Number(1), "test_serializers.Number", "Give int(...) of it."),
    (Fraction(1.5), "test_serializers.Fraction", "Give float(...) of it."),
    (Raw(b"a"), "test_serializers.Raw", "Give bytes(...) of it."),
    (Pair(1, 2), "test_serializers.Pair", "Give tuple(...) of it."),
    (FrozenElements({1}), "test_serializers.FrozenElements", "Give frozenset(...) of it."),
    (Moment(2026, 1, 1), "test_serializers.Moment", "Give plain data"),
    (Moment(2026, 1, 1, tzinfo=UTC), "test_serializers.Moment", "Give plain data"),
    (Day(2026, 1, 1), "test_serializers.Day", "Give plain data"),
    (Clock(1), "test_serializers.Clock", "Give plain data"),
    (Span(1), "test_serializers.Span", "Give plain data"),
    (Amount(1), "test_serializers.Amount", "Give plain data"),
    (Mark(int=1), "test_serializers.Mark", "Give plain data"),
    (datetime(2026, 1, 1, tzinfo=Zone()), "datetime.datetime", "give it in UTC."),
    (time(1, tzinfo=Zone()), "datetime.time", "give it in UTC."),
    (Point(), "test_serializers.Point", "Give dataclasses.asdict(...) of it."),
    (Struct(), "test_serializers.Struct", "Give plain data"),
    (Thing(), "test_serializers.Thing", "Give plain data"),
    (object(), "builtins.object", "Give plain data"),
    (Thing, "builtins.type", "Give plain data"),
    (len, "builtins.builtin_function_or_method", "Give plain data"),
    (complex(1, 2), "builtins.complex", "Give plain data"),
    (range(3), "builtins.range", "Give plain data"),
    (fractions.Fraction(1, 3), "fractions.Fraction", "Give plain data"),
    (Path("/tmp"), "pathlib.PosixPath", "Give plain data"),
    (gettext_lazy("Yes"), "django.utils.functional.", "translated later would be translated now"),
    (..., "builtins.ellipsis", "Give plain data"),
    (CustomUser(id=1, username="ada"), "users.models.CustomUser", "the rows of .values()"),
]
OTHERS_REFUSED: list[tuple[Any, str, str]] = [
    (collections.OrderedDict(a=1), "collections.OrderedDict", "Give dict(...) of it."),
    (collections.defaultdict(list, a=[]), "collections.defaultdict", "Give dict(...) of it."),
    (collections.Counter("aab"), "collections.Counter", "Give dict(...) of it."),
    (collections.deque([1]), "collections.deque", "Give plain data"),
    (types.MappingProxyType({}), "builtins.mappingproxy", "Give plain data"),
    (Items([1]), "test_serializers.Items", "Give list(...) of it."),
    (Mapped(a=1), "test_serializers.Mapped", "Give dict(...) of it."),
    (Elements({1}), "test_serializers.Elements", "Give set(...) of it."),
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


# -- What others wrote, and what is damaged ------------------------------------------------------


class Boom:
    def __reduce__(self) -> Any:
        return Path("/dev/null/executed").touch, ()


@pytest.mark.parametrize("value", [{"a": 1}, [1], "text", 1, 1.5, None, True, "", b"\xc1"])
def test_loads__of_another_serializer_is_one_error(value: Any) -> None:
    others = [msgspec.msgpack.encode(value), *(pickle.dumps(value, each) for each in range(6))]
    if value != b"\xc1":
        others.append(json.dumps(value).encode())
    for data in (*others, *map(zlib.compress, others)):
        with pytest.raises(UnreadableValue, match="another serializer"):
            SERIALIZER.loads(data)


def test_loads__executes_nothing() -> None:
    for data in (pickle.dumps(Boom()), MARK + pickle.dumps(Boom())):
        with pytest.raises(UnreadableValue):
            SERIALIZER.loads(data)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60))
def test_loads__of_anything__is_a_value_or_one_error(data: bytes) -> None:
    for each in (data, MARK + data):
        with suppress(UnreadableValue):
            SERIALIZER.loads(each)


@settings(max_examples=300, deadline=None)
@given(VALUES, st.data())
def test_loads__of_what_is_damaged__is_a_value_or_one_error(value: Any, data: st.DataObject) -> None:
    written = SERIALIZER.dumps(value)
    at = data.draw(st.integers(0, len(written) - 1))
    with pytest.raises(UnreadableValue):
        SERIALIZER.loads(written[:at])
    with pytest.raises(UnreadableValue):
        SERIALIZER.loads(written + b"\0")
    changed = written[:at] + data.draw(st.binary(min_size=1, max_size=3)) + written[at + 1 :]
    with suppress(UnreadableValue):
        SERIALIZER.loads(changed)


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x93\xa1a\x00\xa1b", b"\x80", b"abc", b"\xff" * 40])
def test_loads__of_every_extension_with_nonsense__is_a_value_or_one_error(payload: bytes) -> None:
    for code in range(-128, 128):
        with suppress(UnreadableValue):
            SERIALIZER.loads(MARK + msgspec.msgpack.encode(msgspec.msgpack.Ext(code, payload)))


@pytest.mark.parametrize(
    "data",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x05",
        b"\x91" * 100_000,
        b"\x81" * 100_000,
        msgspec.msgpack.encode(msgspec.msgpack.Ext(6, msgspec.msgpack.encode(["2026-01-01", 0, "../x"]))),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(6, msgspec.msgpack.encode(["2026-01-01", 0, "Europe"]))),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(6, msgspec.msgpack.encode(["2026-01-01", 0, "No/Zone"]))),
    ],
)
def test_loads__of_what_claims_too_much__is_one_error(data: bytes) -> None:
    with pytest.raises(UnreadableValue):
        SERIALIZER.loads(MARK + data)


def test_loads__of_extensions_in_extensions_without_end__is_one_error() -> None:
    data = b"\x90"
    for _ in range(3000):
        data = msgspec.msgpack.encode([msgspec.msgpack.Ext(3, data)])
    with pytest.raises(UnreadableValue):
        SERIALIZER.loads(MARK + data)


def test_mark__begins_nothing_that_django_redis_takes_for_a_number() -> None:
    for value in (1, 0, "12", b"12"):
        with pytest.raises(ValueError, match="invalid literal"):
            int(SERIALIZER.dumps(value))


def test_options__of_django_and_of_django_redis() -> None:
    assert MsgspecSerializer().dumps(uuid4())
    assert MsgspecSerializer(options={"SERIALIZER": "x"}).loads(SERIALIZER.dumps((1,))) == (1,)
