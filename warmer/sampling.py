"""Samples: ids drawn at random from a stream, and what a sample says about all of them."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Generic, TypeVar

T = TypeVar("T")

# The 95 % quantile of the normal distribution.
Z = 1.645


class Sample(Iterable[T], Generic[T]):
    """Some of a stream, each item as likely as any other, in the memory of the sample alone.

    Algorithm R: J. S. Vitter, "Random sampling with a reservoir", ACM Transactions on Mathematical
    Software 11 (1985), 37-57.

    Args:
        source: gives the stream.
        size: how many to draw.
        seed: draws the same from the same stream.

    Attributes:
        seen: how many the stream held; known once the sample was read.
    """

    def __init__(self, source: Callable[[], Iterable[T]], *, size: int, seed: int | None = None) -> None:
        self.size = size
        self.seen = 0
        self._source = source
        self._random = random.Random(seed)

    @property
    def is_whole(self) -> bool:
        """Whether the sample is all that there was."""
        return self.seen <= self.size

    def __iter__(self) -> Iterator[T]:
        drawn: list[T] = []
        for item in self._source():
            self.seen += 1
            if len(drawn) < self.size:
                drawn.append(item)
            elif (at := self._random.randrange(self.seen)) < self.size:
                drawn[at] = item
        yield from drawn


class Seen:
    """Which texts came by: a Bloom filter, whose memory does not grow with them.

    Of a text that came by it always says so; of one that did not, it may be mistaken. After 100,000
    texts that is one of 50 million, after 1,000,000 one of 50.
    """

    BITS = 2**23  # 1 MiB
    HASHES = 7

    def __init__(self) -> None:
        self._bits = bytearray(self.BITS // 8)

    def add(self, text: str) -> bool:
        """Take a text in; say whether it is new."""
        is_new = False
        digest = blake2b(text.encode(), digest_size=4 * self.HASHES).digest()
        for number in struct.unpack(f"{self.HASHES}I", digest):
            byte, bit = divmod(number % self.BITS, 8)
            if not self._bits[byte] >> bit & 1:
                is_new = True
                self._bits[byte] |= 1 << bit
        return is_new


def wrong_at_most(wrong: int, judged: int) -> float:
    """Return the share that is wrong at the most, at 95 % confidence, when so many of a sample are.

    With none wrong it is 3/n, the rule of three: J. A. Hanley and A. Lippman-Hand, "If nothing goes
    wrong, is everything all right?", JAMA 249 (1983), 1743-1745. With some wrong, the upper limit of
    the same (Poisson) distribution: N. Gehrels, "Confidence limits for small numbers of events in
    astrophysical data", Astrophysical Journal 303 (1986), 336-346.
    """
    if not judged:
        return 1.0
    above = wrong + 1
    limit = 3.0 if not wrong else above * (1 - 1 / (9 * above) + Z / (3 * math.sqrt(above))) ** 3
    return min(1.0, limit / judged)


def percent_right(wrong_share: float) -> str:
    """Return the share that is right as text: rounded down to its nines and one digit after them."""
    if wrong_share <= 0:
        return "100 %"
    # The margins keep a share such as 0.001 from being rounded twice.
    digits = max(2, math.ceil(-math.log10(wrong_share) - 1e-9))
    right = 10**digits - math.ceil(wrong_share * 10**digits - 1e-9)
    return f"{right / 10 ** (digits - 2):.{digits - 2}f} %"
