"""What others wrote, and what is damaged, is one error, and executes nothing."""

import json
import pickle
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.package.serializers.values import SERIALIZER, VALUES
from warmer.exceptions import UnreadableValue
from warmer.serializers.django_redis import MARK, MsgspecSerializer

encode = msgspec.msgpack.encode


def extension(code: int, data: bytes) -> bytes:
    return encode(msgspec.msgpack.Ext(code, data))


class Boom:
    def __reduce__(self) -> Any:
        return Path("/dev/null/executed").touch, ()


@pytest.mark.parametrize("value", [{"a": 1}, [1], "text", 1, 1.5, None, True, "", b"\xc1"])
def test_loads__of_another_serializer_is_one_error(value: Any) -> None:
    others = [encode(value), *(pickle.dumps(value, each) for each in range(6))]
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
            SERIALIZER.loads(MARK + extension(code, payload))


@pytest.mark.parametrize(
    "data",
    [
        *[kind + b"\xff\xff\xff\xff\x05" for kind in (b"\xdd", b"\xdf", b"\xc6", b"\xc9")],
        *[kind * 100_000 for kind in (b"\x91", b"\x81")],
        *[extension(6, encode(["2026-01-01", 0, zone])) for zone in ("../x", "Europe", "No/Zone")],
    ],
)
def test_loads__of_what_claims_too_much__is_one_error(data: bytes) -> None:
    with pytest.raises(UnreadableValue):
        SERIALIZER.loads(MARK + data)


def test_loads__of_extensions_in_extensions_without_end__is_one_error() -> None:
    data = b"\x90"
    for _ in range(3000):
        data = encode([msgspec.msgpack.Ext(3, data)])
    with pytest.raises(UnreadableValue):
        SERIALIZER.loads(MARK + data)


def test_mark__begins_nothing_that_django_redis_takes_for_a_number() -> None:
    for value in (1, 0, "12", b"12"):
        with pytest.raises(ValueError, match="invalid literal"):
            int(SERIALIZER.dumps(value))


def test_options__of_django_and_of_django_redis() -> None:
    assert MsgspecSerializer().dumps(uuid4())
    assert MsgspecSerializer(options={"SERIALIZER": "x"}).loads(SERIALIZER.dumps((1,))) == (1,)
