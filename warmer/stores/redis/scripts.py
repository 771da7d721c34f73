"""The Lua scripts of the fence, each atomic and one round trip, and the arguments and answers of a write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from redis import VERSION, Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from warmer.report import Outcome
from warmer.stores.base import UnderWay, Written
from warmer.stores.claims import NOTE_SECONDS, Claim, Token
from warmer.stores.instrumentation import called, observer
from warmer.stores.redis.codec import Encoded
from warmer.stores.redis.connections import disconnect_idle

if TYPE_CHECKING:
    from warmer.stores.redis.damage import Damages

T = TypeVar("T")

# An unused fence costs memory for no reader; losing it only makes the next write load again.
FENCE_LIFETIME_MS = 7 * 24 * 3600 * 1000
# How long a fence remembers invalidated keys: longer than it takes to load and write a batch.
FENCE_AGE = timedelta(hours=1)

HAS_HIREDIS = find_spec("hiredis") is not None
if HAS_HIREDIS:
    from hiredis import pack_command

# What `get_connection` is told: redis-py before 5.3 asks for a command's name, and later ones warn of it.
COMMAND_NAME = ("EVALSHA",) if VERSION < (5, 3) else ()


def packed(connection: Any, commands: Iterable[tuple[Any, ...]]) -> list[bytes]:
    """Return commands as they are sent; their parts are text, bytes and numbers."""
    if HAS_HIREDIS:  # what redis-py does, but for a look at each part whether it is something else
        return [b"".join(map(pack_command, commands))]
    parts: list[bytes] = connection.pack_commands(commands)  # pragma: no cover - the test environment has it
    return parts


@dataclass(frozen=True, kw_only=True)
class Script:
    """A Lua script that the server keeps by its digest."""

    text: bytes

    @cached_property
    def sha(self) -> str:
        """What the server calls it."""
        return hashlib.sha1(self.text, usedforsecurity=False).hexdigest()

    def __call__(self, *, keys: Sequence[str], args: Sequence[Any], client: Redis) -> Any:
        """Run it and return its answer, with the retries that the client's connections make.

        This is what `client.evalsha` does, less what redis-py measures around it, which is an eighth of the
        time of a call on one machine.

        A server that does not know the script (restarted, or its scripts flushed) is sent the text to run.
        redis-py's own `Script` sends it to be kept, then asks for it by its digest: that fails if the server
        forgets it in between.

        After a failover, open connections may still lead to the server that was demoted: they are closed, and
        new ones are tried once.
        """
        try:
            return self._call(keys=keys, args=args, client=client)
        except ResponseError as error:
            if "read only replica" not in str(error):  # Redis 6 has no error of its own for it in a script
                raise
            disconnect_idle(client)
            return self._call(keys=keys, args=args, client=client)

    def _call(self, *, keys: Sequence[str], args: Sequence[Any], client: Redis) -> Any:
        pool: Any = getattr(client, "connection_pool", None)
        if pool is None:  # a cluster, which finds the node
            return client.eval(self.text, len(keys), *keys, *args)  # type: ignore[arg-type]
        connection = pool.get_connection(*COMMAND_NAME)

        def ask() -> Any:
            self.send(connection, keys, args)
            return connection.read_response()

        try:
            return connection.retry.call_with_retry(ask, lambda _error: connection.disconnect())
        except NoScriptError:
            pass
        finally:
            pool.release(connection)
        return client.eval(self.text, len(keys), *keys, *args)  # type: ignore[arg-type]

    def send(self, connection: Any, keys: Sequence[str], args: Sequence[Any]) -> None:
        """Send the call on a connection, and do not wait; keys and arguments are text, bytes and numbers."""
        connection.send_packed_command(packed(connection, [("EVALSHA", self.sha, len(keys), *keys, *args)]))


class CallUnderWay(UnderWay[T]):
    """A call of a script that was sent on a connection of its own, and whose answer was not read yet."""

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
            read: returns what an answer says.
            again: calls in the ordinary way, with its retries, where this call was lost. So a call must do no
                harm twice.
            alias: the cache's name, for who observes its calls.
        """
        self._read = read
        self._again = again
        self._alias = alias
        self._pool: Any = server.connection_pool
        self._connection: Any = None
        try:
            self._connection = self._pool.get_connection(*COMMAND_NAME)
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
            with nullcontext() if observer.get() is None else called(self._alias):
                answer = self._connection.read_response()
        except (RedisError, OSError):  # the server forgot the script, was restarted, or is away
            self.abandon()
            return self._again()
        except BaseException:  # an interrupt: nobody may read this answer later
            self.abandon()
            raise
        self._release()
        return self._read(answer)

    def abandon(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._release()

    def _release(self) -> None:
        self._pool.release(self._connection)
        self._connection = None


def _script(name: str) -> Script:
    parts = (Path(__file__).with_name(f"{part}.lua").read_bytes() for part in ("fence", name))
    return Script(text=b"".join(parts))


TOKEN = _script("token")
CLAIM = _script("claim")
WRITE = _script("write")
INVALIDATE = _script("invalidate")
OVERTAKEN = _script("overtaken")
FRESH = _script("fresh")
PACE = _script("pace")
COUNT = _script("count")

OUTCOMES = {
    "w": Outcome.WRITTEN,
    "a": Outcome.NO_VALUE,
    "f": Outcome.SUPERSEDED,
    "e": Outcome.FAILED,
}


class InvalidateCall:
    """An invalidation of keys of several jobs: what is sent.

    Args:
        most_records: how many invalidated keys a fence remembers.
    """

    def __init__(self, most_records: int) -> None:
        self.keys: list[str] = []
        self.args: list[Any] = [most_records, FENCE_AGE // timedelta(microseconds=1), FENCE_LIFETIME_MS]

    def add_whole(self, fence: str) -> None:
        """Invalidate every key of a job."""
        self.keys.append(fence)
        self.args += (0, 1)

    def add(self, fence: str, names: Sequence[str], server_keys: Sequence[str]) -> None:
        """Invalidate keys of a job.

        Args:
            names: their logical names.
            server_keys: for each, what the server calls it and what stands beside it.
        """
        if names:
            self.keys += (fence, *server_keys)
            self.args += (len(names), len(server_keys) // len(names), *names)

    def __call__(self, server: Redis) -> Any:
        """Send it; return the answer."""
        return INVALIDATE(keys=self.keys, args=self.args, client=server)


def token_of(fence: str, answer: Sequence[Any], server: Any, damages: Damages) -> Token:
    """Return the token that an answer begins with; note if its fence was damaged."""
    generation, counter, state = answer[:3]
    if state:
        damages.note(server, [fence.encode(), state])
    return Token(generation=generation.decode(), counter=int(counter))


@dataclass(frozen=True, kw_only=True)
class WriteCall:
    """What is sent, and the keys in the order of the answer."""

    names: Sequence[str]
    keys: Sequence[str]
    args: Sequence[Any]
    encoded: Encoded

    @classmethod
    def make(
        cls,
        token: Token,
        encoded: Encoded,
        absent: Collection[str],
        claim: Claim | None,
        *,
        fence: str,
        server_keys: Callable[[Sequence[str]], list[str]],
        lives: Sequence[int],
        absence_ms: int,
        head: int,
    ) -> WriteCall:
        """Put the arguments together.

        Args:
            server_keys: gives, of logical names, what the server calls them and what stands beside them.
            lives: the milliseconds that the values live; one for all, or one each.
            head: how many characters stand before the logical name in what the server calls it; -1: it is
                not so that something just stands before it.
        """
        names = [*encoded.values, *absent]
        if claim is not None:
            told = {*names}
            names += [key for key in claim.mine if key not in told]
        args: list[Any] = [token.generation, token.counter, absence_ms]
        args += (claim.id if claim else "", int(NOTE_SECONDS * 1000))
        args += (lives[0] if len(lives) == 1 else "", head, len(encoded.values), len(absent))
        args += encoded.values.values()
        if len(lives) != 1:
            args += lives
        if head < 0:
            args += names
        return cls(names=names, keys=[fence, *server_keys(names)], args=args, encoded=encoded)

    def __call__(self, server: Redis) -> Written:
        """Send it and wait for the answer."""
        return self.read(WRITE(keys=self.keys, args=self.args, client=server))

    def read(self, answer: Any) -> Written:
        """Return what an answer says."""
        letters, refusal = answer
        encoded = self.encoded
        if letters.count(b"w") == len(self.names):
            outcomes = dict.fromkeys(self.names, Outcome.WRITTEN)
        else:
            told = zip(self.names, letters.decode(), strict=True)
            outcomes = {key: OUTCOMES[letter] for key, letter in told if letter in OUTCOMES}
        errors = dict(encoded.errors)
        if refusal:
            why = f"the cache refused it: {refusal.decode()}"
            errors |= {key: why for key, outcome in outcomes.items() if outcome is Outcome.FAILED}
        outcomes |= dict.fromkeys(encoded.errors, Outcome.FAILED)
        return Written(outcomes=outcomes, errors=errors, encode_seconds=encoded.seconds)
