"""Calls of the scripts whose answers are read later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import RedisError

from warmer.stores.observed import called
from warmer.stores.scripts import Script
from warmer.stores.under_way import UnderWay

T = TypeVar("T")


class CallUnderWay(UnderWay[T]):
    """A call that was sent, on a connection of its own, and whose answer was not read yet."""

    def __init__(
        self,
        script: Script,
        keys: Sequence[str],
        args: Sequence[Any],
        server: Redis,
        *,
        read: Callable[[Any], T],
        again: Callable[[], T],
        alias: str,
    ) -> None:
        """Send the call.

        Args:
            read: gives what an answer says.
            again: asks in the ordinary way, with its retries, where this call was lost. So a call must do no
                harm twice.
            alias: the cache's name, for who watches its calls.
        """
        self._read = read
        self._again = again
        self._alias = alias
        self._pool: Any = server.connection_pool
        self._connection: Any = None
        try:
            self._connection = self._pool.get_connection()
            script.send(self._connection, keys, args)
        except (RedisError, OSError):
            self.abandon()
        except BaseException:  # an interrupt, half way
            self.abandon()
            raise

    def end(self) -> T:
        if self._connection is None:
            return self._again()
        try:
            with called(self._alias):
                answer = self._connection.read_response()
        except (RedisError, OSError):  # the server forgot the script, was restarted, or is away
            self.abandon()
            return self._again()
        except BaseException:  # an interrupt: the answer that comes yet must not be the next one's
            self.abandon()
            raise
        self._pool.release(self._connection)
        self._connection = None
        return self._read(answer)

    def abandon(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._pool.release(self._connection)
            self._connection = None
