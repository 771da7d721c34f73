"""The compressor: what comes back is what went in, and short values are left alone."""

from __future__ import annotations

import zlib
from hashlib import sha256

import pytest
from django_redis.compressors.zlib import ZlibCompressor
from hypothesis import given
from hypothesis import strategies as st

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
