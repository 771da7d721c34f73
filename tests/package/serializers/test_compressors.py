"""The compressor: what comes back is what went in, and short values are left alone."""

import tracemalloc
import zlib
from hashlib import sha256
from typing import Any

import pytest
from django_redis.compressors.zlib import ZlibCompressor
from hypothesis import given
from hypothesis import strategies as st

from warmer.context import own_write
from warmer.exceptions import UnreadableValue, UnsupportedValue
from warmer.serializers.django_redis import LongValueCompressor

COMPRESSOR = LongValueCompressor({})
LONG = st.binary(min_size=1, max_size=50).map(lambda part: part * 60)
# What has no pattern.
CHANCE = b"".join(sha256(bytes([number])).digest() for number in range(100))


@given(st.binary() | LONG | st.binary().map(zlib.compress) | LONG.map(zlib.compress))
def test_compress__comes_back_as_it_was(value: bytes) -> None:
    assert COMPRESSOR.decompress(COMPRESSOR.compress(value)) == value


def test_compress__from_a_kibibyte_on_where_it_is_shorter() -> None:
    assert COMPRESSOR.compress(b"a" * 1023) == b"a" * 1023
    assert len(COMPRESSOR.compress(b"a" * 1024)) < 30
    assert COMPRESSOR.compress(CHANCE) == CHANCE


@pytest.mark.parametrize("value", [b"x", b"x\x01", b"xylophone", zlib.compress(b"a" * 2000, 1)])
def test_compress__what_looks_compressed_is_compressed(value: bytes) -> None:
    assert COMPRESSOR.compress(value) != value
    assert COMPRESSOR.decompress(COMPRESSOR.compress(value)) == value


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
