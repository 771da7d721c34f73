"""A compressor for django-redis that leaves short values alone.

    "OPTIONS": {"COMPRESSOR": "warmer.serializers.compressors.LongValueCompressor"}

On a value of some hundred bytes zlib takes longer than everything else that a write does, and saves next to
nothing. The figures: docs/decisions/0007-serializer.md.
"""

from __future__ import annotations

import zlib
from typing import Any

# The first byte of all that `zlib.compress` gives.
MARK = b"x"


class LongValueCompressor:
    """Compresses values from `min_length` bytes on, when that makes them shorter.

    A value that itself begins with the mark is compressed in any case, so that none is taken for what it
    is not. It reads what django-redis' `ZlibCompressor` wrote, and the other way round.

    Attributes:
        min_length: the shortest value that is compressed, in bytes.
        level: as of zlib; above 1 the time doubles for a few hundredths of the size.
    """

    min_length = 1024
    level = 1

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        """Accept django-redis' options and ignore them."""

    def compress(self, value: bytes) -> bytes:
        """Return the value, or what `decompress` makes it of."""
        looks_compressed = value[:1] == MARK
        if len(value) < self.min_length and not looks_compressed:
            return value
        compressed = zlib.compress(value, self.level)
        return compressed if looks_compressed or len(compressed) < len(value) else value

    def decompress(self, value: bytes) -> bytes:
        """Decompress a value. Return other or damaged data unchanged: the serializer refuses it."""
        if value[:1] != MARK:
            return value
        try:
            return zlib.decompress(value)
        except zlib.error:
            return value
