"""What others wrote, and what is damaged, is one error and executes nothing; the compressor around it."""

import json
import pickle
import tracemalloc
import zlib
from contextlib import suppress
from datetime import timedelta
from functools import reduce
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from django_redis.compressors.zlib import ZlibCompressor
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.package.serializers.values import SERIALIZER, VALUES
from warmer.context import own_write
from warmer.exceptions import UnreadableValue, UnsupportedValue
from warmer.serializers.django_redis import MARK, LongValueCompressor, MsgspecSerializer
from warmer.serializers.packing import DATETIME, TUPLE

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
        *[extension(DATETIME, encode(["2026-01-01", 0, zone])) for zone in ("../x", "Europe", "No/Zone")],
        reduce(lambda inner, _: encode([msgspec.msgpack.Ext(TUPLE, inner)]), range(3000), b"\x90"),
    ],
    ids=lambda data: data[:8].hex(),
)
def test_loads__of_what_claims_too_much__is_one_error(data: bytes) -> None:
    with pytest.raises(UnreadableValue):
        SERIALIZER.loads(MARK + data)


def test_format__codes_stay_those_of_values_that_are_cached() -> None:
    assert SERIALIZER.dumps((1,)) == MARK + extension(3, encode([1]))
    assert SERIALIZER.dumps({1}) == MARK + extension(4, encode([1]))
    assert SERIALIZER.dumps(timedelta(1))[len(MARK) :] == extension(10, encode([1, 0, 0]))


def test_mark__begins_nothing_that_django_redis_takes_for_a_number() -> None:
    for value in (1, 0, "12", b"12"):
        with pytest.raises(ValueError, match="invalid literal"):
            int(SERIALIZER.dumps(value))


def test_options__of_django_and_of_django_redis() -> None:
    assert MsgspecSerializer().dumps(uuid4())
    assert MsgspecSerializer(options={"SERIALIZER": "x"}).loads(SERIALIZER.dumps((1,))) == (1,)


# -- the compressor -----------------------------------------------------------------------------------
COMPRESSOR = LongValueCompressor({})
LONG = st.binary(min_size=1, max_size=50).map(lambda part: part * 60)
# What has no pattern.
CHANCE = b"".join(sha256(bytes([number])).digest() for number in range(100))


@given(st.binary() | LONG | st.binary().map(zlib.compress) | LONG.map(zlib.compress))
def test_compress__comes_back_as_it_was(value: bytes) -> None:
    assert COMPRESSOR.decompress(COMPRESSOR.compress(MARK + value)) == MARK + value


def test_compress__from_a_kibibyte_on_where_it_is_shorter() -> None:
    assert COMPRESSOR.compress(b"a" * 1023) == b"a" * 1023
    assert len(COMPRESSOR.compress(b"a" * 1024)) < 30
    assert COMPRESSOR.compress(CHANCE) == CHANCE


@given(st.binary(max_size=30))
def test_decompress__of_anything__does_not_fail(value: bytes) -> None:
    for each in (value, b"x" + value, b"x\x01" + value):
        COMPRESSOR.decompress(each)


def test_decompress__of_what_django_redis_compressed__and_the_other_way_round() -> None:
    theirs, value = ZlibCompressor({}), b"a" * 2000
    assert COMPRESSOR.decompress(theirs.compress(value)) == value
    assert theirs.decompress(COMPRESSOR.compress(value)) == value


def test_limit__of_what_is_decompressed_and_of_what_warmer_writes(settings: Any) -> None:
    settings.WARMER_MAX_VALUE_BYTES = 2000
    fits, longer = b"a" * 2000, b"a" * 2001
    with own_write():
        assert COMPRESSOR.decompress(COMPRESSOR.compress(fits)) == fits
        with pytest.raises(UnsupportedValue, match=r"2001 bytes, more than WARMER_MAX_VALUE_BYTES \(2000\)"):
            COMPRESSOR.compress(longer)
    assert COMPRESSOR.decompress(COMPRESSOR.compress(longer)) == longer  # other code's: as it is
    with pytest.raises(UnreadableValue, match=r"WARMER_MAX_VALUE_BYTES \(2000\)"):
        COMPRESSOR.decompress(zlib.compress(longer))


def test_limit__a_bomb_takes_no_more_memory_than_the_limit(settings: Any) -> None:
    settings.WARMER_MAX_VALUE_BYTES = 1_000_000
    bomb = zlib.compress(bytes(100_000_000))
    tracemalloc.start()
    with pytest.raises(UnreadableValue):
        COMPRESSOR.decompress(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000
