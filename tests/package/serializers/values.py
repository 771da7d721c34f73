"""Values of every type that can be cached, and all that there is to tell of one."""

import struct
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from warmer.serializers.django_redis import MsgspecSerializer

SERIALIZER = MsgspecSerializer({})
NAIVE = datetime.fromisoformat("2026-01-01T01:02:03.000004")
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
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
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
    HASHABLE, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3), max_leaves=4
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
    """Return what a value is once it was written and read."""
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
