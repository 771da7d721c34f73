"""One call of `write.lua`: its arguments, and what its answer says of each key."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from warmer.report import Outcome, describe
from warmer.stores.base import Writing, Written
from warmer.stores.claims import NOTE_SECONDS, Claim
from warmer.stores.observed import called
from warmer.stores.scripts import WRITE
from warmer.stores.token import Token

HAS_HIREDIS = find_spec("hiredis") is not None
if HAS_HIREDIS:
    from hiredis import pack_command

OUTCOMES = {
    "w": Outcome.WRITTEN,
    "a": Outcome.ABSENT,
    "f": Outcome.FENCED,
    "e": Outcome.FAILED,
}


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Values as the cache encodes them, and why some could not be."""

    values: Mapping[str, Any]
    errors: Mapping[str, str]
    seconds: float


def encode_all(values: Mapping[str, Any], encode: Callable[[Any], Any]) -> Encoded:
    """Encode values; one that cannot be costs its own key only."""
    began = time.perf_counter()
    errors: dict[str, str] = {}
    try:
        encoded = {key: encode(value) for key, value in values.items()}
    except Exception:  # noqa: BLE001 - a serializer's own: find out which value it is
        encoded = {}
        for key, value in values.items():
            try:
                encoded[key] = encode(value)
            except Exception as error:  # noqa: BLE001 - a serializer's own
                errors[key] = f"its value cannot be encoded: {describe(error)}"
    return Encoded(values=encoded, errors=errors, seconds=time.perf_counter() - began)


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
        places: Callable[[Sequence[str]], list[str]],
        lives: Sequence[int],
        absence_ms: int,
        head: int,
    ) -> WriteCall:
        """Put the arguments together.

        Args:
            places: gives, of logical names, what the server calls them and what stands beside them.
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
        return cls(names=names, keys=[fence, *places(names)], args=args, encoded=encoded)

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


def send(connection: Any, command: list[Any]) -> None:
    """Send a command whose parts are text, bytes and numbers."""
    if HAS_HIREDIS:  # what redis-py does with it, but for a look at each part whether it is something else
        connection.send_packed_command([pack_command(tuple(command))])
    else:  # pragma: no cover - the test environment has it
        connection.send_command(*command)


class WriteUnderWay(Writing):
    """A call that was sent, on a connection of its own, and whose answer was not read yet."""

    def __init__(
        self, call: WriteCall, server: Redis, again: Callable[[WriteCall], Written], *, alias: str
    ) -> None:
        """Send the call.

        Args:
            alias: the cache's name, for who watches its calls.
            again: writes in the ordinary way, with its retries. Twice is no harm: both are under the fence.
        """
        self._call = call
        self._again = again
        self._alias = alias
        self._pool: Any = server.connection_pool
        self._connection: Any = None
        try:
            self._connection = self._pool.get_connection()
            send(self._connection, ["EVALSHA", WRITE.sha, len(call.keys), *call.keys, *call.args])
        except (RedisError, OSError):
            self.abandon()

    def end(self) -> Written:
        if self._connection is None:
            return self._again(self._call)
        try:
            with called(self._alias):
                answer = self._connection.read_response()
        except (RedisError, OSError):  # the server forgot the script, was restarted, or is away
            self.abandon()
            return self._again(self._call)
        except BaseException:  # an interrupt: the answer that comes yet must not be the next one's
            self.abandon()
            raise
        self._pool.release(self._connection)
        self._connection = None
        return self._call.read(answer)

    def abandon(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._pool.release(self._connection)
            self._connection = None
