"""Fences that another program damaged. A script has dropped them, which voids all of their tokens."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

from redis import Redis

from warmer.exceptions import StoreUnavailable

logger = logging.getLogger(__name__)

# How long the doctor reports them.
KEPT_SECONDS = 3 * 86_400


@dataclass(frozen=True, kw_only=True)
class Damages:
    """The damaged fences of a cache, which its server remembers for the doctor.

    Attributes:
        server: makes a context with the client of the server.
        key: the name of their list on the server.
    """

    server: Callable[[], AbstractContextManager[Redis]]
    key: str

    def note(self, answer: Sequence[bytes]) -> None:
        """Log damaged fences, and remember them.

        Args:
            answer: each fence, followed by a description of its state.
        """
        for fence, state in zip(answer[::2], answer[1::2], strict=True):
            text = f"{fence.decode(errors='replace')} was damaged: {state[:200].decode(errors='replace')}"
            logger.warning(
                "The fence %s. It was replaced. Does another program write to this cache server?", text
            )
            with suppress(StoreUnavailable), self.server() as server:  # the server may be full
                server.zadd(self.key, {text: time.time()})
                server.expire(self.key, KEPT_SECONDS)

    def noted(self) -> dict[str, float]:
        """Return a sentence about each, and when it was last recorded, in seconds since the epoch.

        Raises:
            StoreUnavailable: the cache does not answer.
        """
        with self.server() as server:
            found: Any = server.zrange(self.key, 0, -1, withscores=True)
        return {text.decode(): at for text, at in found}
