"""What is written comes back as it was."""

import struct
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.package.serializers.values import NAIVE, PLAIN, SERIALIZER, VALUES, ZONES, there_and_back, told
from warmer.serializers.django_redis import MARK


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
        *(2**63 - 1, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**5000, -(10**5000)),
        *("", "\0", "\ud800 alone", "é€😀", b"", b"\xc1\x80x"),
        *((), ((),), [[], (), {}, set(), frozenset()]),
        {True: 1, 2: True, 3.0: False, None: None, (1, (2,)): 3, b"b": 4, frozenset({1}): 5},
        *({1: "int"}, {True: "bool"}, {1.0: "float"}),
        *({"\ud800": 2**70}, {2**70: "\ud800"}),
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
