"""Calls of the scripts whose answers are read later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import RedisError

from warmer.stores.instrumentation import called
from warmer.stores.pipelining import UnderWay
from warmer.stores.redis.scripts import Script

T = TypeVar("T")


class CallUnderWay(UnderWay[T]):
    """A call that was sent, and whose answer was not read yet."""

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
        behind: UnderWay[Any] | None = None,
    ) -> None:
        """Send the call.

        Args:
            read: gives what an answer says.
            again: asks in the ordinary way, with its retries, where this call was lost. So a call must do no
                harm twice.
            alias: the cache's name, for who watches its calls.
            behind: what is under way to the same server and is ended first: it shares its connection. Where
                that is lost, so is this: a connection of its own would be held while the other wants one.
        """
        self._read = read
        self._again = again
        self._alias = alias
        shared: _Line | None = behind._line if isinstance(behind, CallUnderWay) else None
        self._line: _Line = shared or _Line(server.connection_pool)
        if shared is not None and not shared.is_open:
            return
        try:
            self._line.send(self, script, keys, args)
        except (RedisError, OSError):
            self.abandon()
        except BaseException:  # an interrupt, half way
            self.abandon()
            raise

    def end(self) -> T:
        if not self._line.is_open:
            return self._again()
        try:
            with called(self._alias):
                answer = self._line.answer(self)
        except (RedisError, OSError):  # the server forgot the script, was restarted, or is away
            self.abandon()
            return self._again()
        except BaseException:  # an interrupt: the answer that comes yet must not be the next one's
            self.abandon()
            raise
        return self._read(answer)

    def abandon(self) -> None:
        self._line.close()


class _Line:
    """A connection on which calls wait for their answers, which come in the order of the calls.

    It goes back to its pool with the last answer. A call that fails or is abandoned takes the others with it:
    whose answer comes next is not known any more.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._connection: Any = None
        self._waiting: deque[object] = deque()

    @property
    def is_open(self) -> bool:
        """Return whether a call waits for its answer."""
        return self._connection is not None

    def send(self, caller: object, script: Script, keys: Sequence[str], args: Sequence[Any]) -> None:
        """Send a call."""
        if self._connection is None:
            self._connection = self._pool.get_connection()
        script.send(self._connection, keys, args)
        self._waiting.append(caller)

    def answer(self, caller: object) -> Any:
        """Wait for the answer to a call, which is the oldest that waits."""
        assert self._waiting[0] is caller, "answers are read in the order of the calls"
        answer = self._connection.read_response()
        self._waiting.popleft()
        if not self._waiting:
            self._pool.release(self._connection)
            self._connection = None
        return answer

    def close(self) -> None:
        """Wait for no answer any more."""
        if self._connection is not None:
            self._connection.disconnect()
            self._pool.release(self._connection)
            self._connection = None
