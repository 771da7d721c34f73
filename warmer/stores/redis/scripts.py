"""The Lua scripts of the fence, each atomic and one round trip, and how they are sent."""

import hashlib
import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from redis import VERSION, Redis
from redis.exceptions import NoScriptError, ResponseError

from warmer.report import Outcome
from warmer.stores.base import Token, Written
from warmer.stores.redis.codec import Encoded
from warmer.stores.redis.connections import disconnect_idle

logger = logging.getLogger(__name__)

Command = tuple[Any, ...]

HAS_HIREDIS = find_spec("hiredis") is not None
if HAS_HIREDIS:
    from hiredis import pack_command

# An unused fence only takes memory; losing it makes the next write load again.
FENCE_LIFETIME_MS = 7 * 24 * 3600 * 1000
# How long a fence remembers invalidated keys: longer than it takes to load and write a batch.
FENCE_AGE = timedelta(hours=1)

# Arguments of `get_connection`: redis-py before 5.3 requires a command's name, later versions warn about it.
COMMAND_NAME = ("EVALSHA",) if VERSION < (5, 3) else ()


@dataclass(kw_only=True, slots=True)
class Call:
    """A call of a script.

    Attributes:
        names: the logical names of the keys, in the order of the answer.
        keys, args: what is sent: text, bytes and numbers.
    """

    names: list[str] = field(default_factory=list)
    keys: list[str]
    args: list[Any]


class Script:
    """A Lua script in this folder, which the server caches by its digest."""

    def __init__(self, name: str) -> None:
        parts = (Path(__file__).with_name(f"{part}.lua").read_bytes() for part in ("fence", name))
        self.text = b"".join(parts)
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()

    def command(self, call: Call) -> Command:
        """Return the command that calls it by its digest."""
        return ("EVALSHA", self.sha, len(call.keys), *call.keys, *call.args)

    def __call__(self, call: Call, client: Redis) -> Any:
        """Run it and return its answer, with the retries that the client's connections make.

        This is `client.evalsha` without redis-py's instrumentation, an eighth of the time of a local call. If
        the server does not know the script (it was restarted, or its scripts were flushed), the source is
        sent to run. redis-py's own `Script` loads it, then calls it by its digest, which fails if the server
        forgets it in between.

        After a failover, open connections may still lead to the demoted server: they are closed, and the call
        is retried once on a new one.
        """
        try:
            return self._call(call, client)
        except ResponseError as error:
            if "read only replica" not in str(error):  # in a script, Redis 6 has no specific error for this
                raise
            disconnect_idle(client)
            return self._call(call, client)

    def _call(self, call: Call, client: Redis) -> Any:
        pool: Any = getattr(client, "connection_pool", None)
        if pool is not None:
            connection = pool.get_connection(*COMMAND_NAME)

            def ask() -> Any:
                send(connection, [self.command(call)])
                return connection.read_response()

            try:
                return connection.retry.call_with_retry(ask, lambda _error: connection.disconnect())
            except NoScriptError:
                pass
            finally:
                pool.release(connection)
        # Or a client of a cluster, which finds the node.
        return client.eval(self.text, len(call.keys), *call.keys, *call.args)  # type: ignore[arg-type]


def send(connection: Any, commands: Iterable[Command]) -> None:
    """Send commands on a connection without waiting; their parts are str, bytes and numbers."""
    if HAS_HIREDIS:  # as redis-py does, but without checking the type of each part
        connection.send_packed_command([b"".join(map(pack_command, commands))])
    else:  # pragma: no cover - the test environment has it
        connection.send_packed_command(connection.pack_commands(commands))


class Sent:
    """Commands that were sent, each on a connection to its server that nobody else uses until it is closed.

    Args:
        commands: for each client, what to send, with a key for each answer.
    """

    def __init__(self, commands: Iterable[tuple[Any, Mapping[int, Command]]]) -> None:
        self._links: list[tuple[Any, Any, deque[int]]] = []
        try:
            for client, each in commands:
                pool = client.connection_pool
                connection = pool.get_connection(*COMMAND_NAME)
                self._links.append((pool, connection, deque(each)))
                send(connection, each.values())
        except BaseException:
            self.close()
            raise

    def read(self) -> dict[int, Any]:
        """Return the answers, even those that are errors, and close the connections for the commands."""
        answers: dict[int, Any] = {}
        try:
            for _, connection, unread in self._links:
                while unread:
                    try:
                        answers[unread[0]] = connection.read_response()
                    except ResponseError as error:
                        answers[unread[0]] = error
                    unread.popleft()
        finally:  # also after an interrupt: nobody may read the other answers later
            self.close()
        return answers

    def close(self) -> None:
        """Return the connections to their pools, closed if unread answers are left on them."""
        while self._links:
            pool, connection, unread = self._links.pop()
            if unread:
                connection.disconnect()
            pool.release(connection)


TOKEN = Script("token")
CLAIM = Script("claim")
WRITE = Script("write")
INVALIDATE = Script("invalidate")
OVERTAKEN = Script("overtaken")
FRESH = Script("fresh")
PACE = Script("pace")
COUNT = Script("count")

OUTCOMES = {b"w": Outcome.WRITTEN, b"a": Outcome.NO_VALUE, b"f": Outcome.SUPERSEDED, b"e": Outcome.FAILED}


def log_damaged(fence: str) -> None:
    """Log that a script dropped a fence which another program had written to."""
    logger.warning(
        "The fence %s was damaged, and was replaced. Does another program write to this cache server?", fence
    )


def token_of(fence: str, answer: Sequence[Any]) -> Token:
    """Return the token at the start of an answer."""
    generation, counter, was_damaged = answer[:3]
    if was_damaged:
        log_damaged(fence)
    return Token(generation=generation.decode(), counter=int(counter))


def with_letter(names: list[str], letters: bytes, letter: bytes) -> list[str]:
    """Return the keys for which a script answered with a given letter."""
    count = letters.count(letter)
    if count in (0, len(names)):  # usually all have the same letter
        return names if count else []
    return [name for name, each in zip(names, letters, strict=True) if each == letter[0]]


def claimed(calls: Mapping[int, Call], answers: Mapping[int, Any]) -> dict[str, dict[str, bytes]]:
    """Return the keys and their texts for each letter in the answers to a claim."""
    told: dict[str, dict[str, bytes]] = {letter: {} for letter in "mtva"}
    for slot, (*_, letters, texts) in answers.items():
        for key, letter, text in zip(calls[slot].names, letters.decode(), texts, strict=True):
            told[letter][key] = text
    return told


def written(calls: Mapping[int, Call], encoded: Encoded, answers: Mapping[int, Any]) -> Written:
    """Return the result of a write from its answers."""
    outcomes, errors = dict.fromkeys(encoded.errors, Outcome.FAILED), dict(encoded.errors)
    for slot, (letters, refusal) in answers.items():
        names = calls[slot].names
        for letter, outcome in OUTCOMES.items():
            outcomes |= dict.fromkeys(with_letter(names, letters, letter), outcome)
        if refusal:
            why = f"the cache refused it: {refusal.decode()}"
            errors |= dict.fromkeys(with_letter(names, letters, b"e"), why)
    return Written(outcomes=outcomes, errors=errors, encode_seconds=encoded.seconds)
