"""Which texts came by, remembered in little memory."""

from __future__ import annotations

import struct
from hashlib import blake2b


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
