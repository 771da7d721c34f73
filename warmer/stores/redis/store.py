"""Keys on one Redis server: Lua scripts implement the fence, each atomic and in one round trip."""

import logging
import random
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any, cast

from django.core.cache import caches
from redis.exceptions import RedisClusterException, RedisError

from warmer.conf import conf
from warmer.context import own_write
from warmer.keys import ANY_ID, Names
from warmer.report import describe
from warmer.stores.base import (
    NOTE_SECONDS,
    Cached,
    Claim,
    Invalidation,
    Keys,
    Peeked,
    Record,
    Store,
    Token,
    UnderWay,
    Values,
    Written,
)
from warmer.stores.breaker import Breaker
from warmer.stores.counters import RedisCounters
from warmer.stores.instrumentation import called, looked_up, observer
from warmer.stores.redis import codec, scripts
from warmer.stores.redis.codec import Encoded, microseconds, milliseconds
from warmer.stores.redis.connections import disconnect_idle, failed
from warmer.stores.redis.scripts import FENCE_LIFETIME_MS, Call, Command, Script, Sent, with_letter

logger = logging.getLogger(__name__)


class RedisStore(Store):
    """A job's keys on one Redis server, with the full guarantees. All are in slot 0 and share a fence."""

    slots: Sequence[int] = (0,)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        cache = caches[self.alias]
        self._codec = cast(codec.Codec, codec.codec_of(cache))
        self._names = Names(cache, self.template, with_absences=bool(self.absent_timeout))
        self.lists_keys = ANY_ID in self._names.patterns()[0]  # the project's key function may drop the id
        self.fence_key = self._names.own(self.template.fence, "warmer-fence")
        self.counters = RedisCounters(server=self._server, fence=self.fence_key)

    def fence_of(self, slot: int) -> str:
        """Return the name of a slot's fence on the server."""
        return self.fence_key

    def _by_slot(self, keys: Keys) -> Mapping[int, list[str]]:
        return {0: list(keys)} if keys else {}

    def _run(self, script: Script, calls: Mapping[int, Call]) -> dict[int, Any]:
        """Call a script for each slot; return the answers."""
        with self._server() as server:
            return {slot: script(call, server) for slot, call in calls.items()}

    def _send(self, commands: Mapping[int, Command]) -> Sent:
        return Sent([(self._codec.connect(), commands)])

    def _with_letter(self, script: Script, calls: Mapping[int, Call], letter: bytes) -> list[str]:
        answers = self._run(script, calls).items()
        return [key for slot, told in answers for key in with_letter(calls[slot].names, told, letter)]

    def _token(self, answers: Mapping[int, Any]) -> Token:
        return scripts.token_of(self.fence_key, answers[0])

    def _taken(self, token: Token, slot: int) -> list[Any]:
        """Return a token's state of a slot's fence, as arguments."""
        taken = token.slots.get(slot, token)  # that of another reader's claim is of a single fence
        return [taken.generation, taken.counter]

    def ping(self) -> None:
        with self._server() as server:  # not PING, which a cluster node answers like any server
            server.exists(self.fence_key, f"{self.fence_key}:ping")

    def token(self, keys: Keys) -> Token:
        args = [secrets.token_hex(8), FENCE_LIFETIME_MS, microseconds(conf.REPLICA_LAG)]
        slots = self._by_slot(keys) or self.slots[:1]  # the cache has to answer even if there are no keys
        calls = {slot: Call(keys=[self.fence_of(slot)], args=args) for slot in slots}
        return self._token(self._run(scripts.TOKEN, calls))

    def lookup(self, keys: Sequence[str], *, claims: bool = False) -> Cached:
        with self._server() as server:
            raw = server.mget(self._names.with_marks(keys, claims=claims)) if keys else []
        stride = 1 + bool(self.absent_timeout) + claims
        level = logging.DEBUG if claims else logging.WARNING  # waiting readers look repeatedly
        values = self._decode(dict(zip(keys, raw[::stride], strict=True)), level)
        marks = zip(keys, raw[1::stride], strict=True) if self.absent_timeout else ()
        texts = zip(keys, raw[stride - 1 :: stride], strict=True) if claims else ()
        absent = frozenset(key for key, mark in marks if mark is not None and key not in values)
        if not claims and observer.get() is not None:
            looked_up(self.alias, keys=len(keys), found=len(values) + len(absent))
        records = {key: record for key, text in texts if text is not None and (record := Record.parse(text))}
        return Cached(values=values, absent=absent, claims=records)

    def peek(self, key: str) -> Any:
        if self.absent_timeout:
            return super().peek(key)
        with self._server() as server:
            # Not GET, which fails for a key of another type; MGET returns no value for it.
            (raw,) = server.execute_command("MGET", *self._names.made((key,)))
        value = Peeked.NOTHING if raw is None else self._decode({key: raw}).get(key, Peeked.NOTHING)
        if observer.get() is not None:
            looked_up(self.alias, keys=1, found=int(value is not Peeked.NOTHING))
        return value

    def claim(self, keys: Sequence[str], *, seconds: float) -> Claim:
        id = secrets.token_hex(8)
        args: list[Any] = [secrets.token_hex(8), FENCE_LIFETIME_MS, id, milliseconds(seconds)]
        args += (1 if self.absent_timeout else 0, microseconds(conf.REPLICA_LAG))
        calls = {}
        for slot, names in self._by_slot(keys).items():
            made = self._names.with_marks(names, claims=True)
            calls[slot] = Call(names=names, keys=[self.fence_of(slot), *made], args=[*args, *names])
        answers = self._run(scripts.CLAIM, calls)
        told = scripts.claimed(calls, answers)
        values = self._decode(told["v"], logging.DEBUG)  # a value that cannot be read has to be loaded
        return Claim(
            id=id,
            token=self._token(answers),
            mine=(*told["m"], *(key for key in told["v"] if key not in values)),
            theirs={key: holder.decode() for key, holder in told["t"].items()},
            values=values,
            absent=frozenset(told["a"]),
        )

    def write(self, token: Token, values: Values, absent: Keys = (), claim: Claim | None = None) -> Written:
        encoded = codec.encode_all(values, self._codec.encode)
        return self._write(self._writes(token, encoded, absent, claim), encoded)

    def begin_write(self, token: Token, values: Values, absent: Keys = ()) -> UnderWay:
        encoded = codec.encode_all(values, self._codec.encode)
        calls = self._writes(token, encoded, absent, None)
        if calls and not self.breaker.is_open:
            with suppress(RedisError, OSError):
                sent = self._send({slot: scripts.WRITE.command(call) for slot, call in calls.items()})
                return UnderWay(end=partial(self._end_write, sent, calls, encoded), abandon=sent.close)
        return UnderWay(end=partial(self._write, calls, encoded))

    def _end_write(self, sent: Sent, calls: Mapping[int, Call], encoded: Encoded) -> Written:
        with suppress(RedisError, OSError), nullcontext() if observer.get() is None else called(self.alias):
            answers = sent.read()
            if not any(isinstance(answer, Exception) for answer in answers.values()):
                return scripts.written(calls, encoded, answers)
        # E.g. the server was restarted. Writing twice is harmless: the fence guards both.
        return self._write(calls, encoded)

    def _write(self, calls: Mapping[int, Call], encoded: Encoded) -> Written:
        return scripts.written(calls, encoded, self._run(scripts.WRITE, calls) if calls else {})

    def _writes(self, token: Token, encoded: Encoded, absent: Keys, claim: Claim | None) -> dict[int, Call]:
        absences = set(absent).difference(encoded.values)
        head = -1 if self._names.head is None else len(self._names.head.encode())  # before the key
        calls = {}
        keys = dict.fromkeys((*encoded.values, *absences, *(claim.mine if claim else ())))
        for slot, names in self._by_slot(keys).items():
            values = [value for value in map(encoded.values.get, names) if value is not None]
            args = self._taken(token, slot)
            args += (milliseconds(self.absent_timeout) if self.absent_timeout else 0,)
            args += (claim.id if claim else "", int(NOTE_SECONDS * 1000))
            args += ("" if self.jitter else milliseconds(self.timeout), head)
            args += (len(values), sum(map(absences.__contains__, names)), *values)
            if self.jitter:
                args += (milliseconds(self.timeout - random.uniform(0, self.jitter)) for _ in values)
            if head < 0:
                args += names
            made = self._names.with_marks(names, claims=claim is not None)
            calls[slot] = Call(names=names, keys=[self.fence_of(slot), *made], args=args)
        return calls

    def invalidate(self, keys: Keys) -> None:
        self.invalidate_together([Invalidation(store=self, keys=keys)])

    @classmethod
    def invalidate_together(cls, invalidations: Sequence[Invalidation]) -> None:
        args = [conf.FENCE_RECORDS, microseconds(scripts.FENCE_AGE), FENCE_LIFETIME_MS]
        calls = defaultdict[int, Call](lambda: Call(keys=[], args=[*args]))
        for each in invalidations:
            store = cast(RedisStore, each.store)
            if each.keys is None:
                store._add_whole(calls)
                continue
            for slot, names in store._by_slot(each.keys).items():
                made = store._names.with_marks(names, claims=True)
                calls[slot].keys.extend((store.fence_of(slot), *made))
                calls[slot].args.extend((len(names), len(made) // len(names), *names))
        if calls:  # for one cache, so that any of the stores can send them
            for damaged in store._run(scripts.INVALIDATE, calls).values():
                for fence in damaged:
                    scripts.log_damaged(fence.decode(errors="replace"))

    def _add_whole(self, calls: Mapping[int, Call]) -> None:
        calls[0].keys.append(self.fence_key)
        calls[0].args.extend((0, 1))

    def forget(self, keys: Keys | None = None) -> None:
        self._each("DEL", map(self.fence_of, self.slots if keys is None else self._by_slot(keys)))

    def remaining(self, keys: Sequence[str]) -> dict[str, float | None]:
        left = zip(keys, self._each("PTTL", self._names.made(keys)), strict=True)
        return {key: None if ms < 0 else ms / 1000 for key, ms in left if ms != -2}  # -2: no such key

    def size(self, key: str) -> int | None:
        return int(self._each("STRLEN", self._names.made([key]))[0])

    def _each(self, command: str, names: Iterable[str]) -> list[Any]:
        """Send a command for each name, in one round trip; return the answers."""
        with self._server() as server:
            pipeline = server.pipeline(transaction=False)
            for name in names:
                pipeline.execute_command(command, name)
            return cast(list[Any], pipeline.execute())

    def fresh(self, keys: Sequence[str], *, seconds: float) -> Keys:
        at, args = self._by_slot(keys), [int(seconds * 1000)]
        calls = {slot: Call(names=some, keys=self._names.made(some), args=args) for slot, some in at.items()}
        return self._with_letter(scripts.FRESH, calls, b"y")

    def turn(self, *, per_second: float, name: str) -> float:
        key = self._names.own(name, "warmer-turn")
        with self._server() as server:
            return float(scripts.PACE(Call(keys=[key], args=[int(1e6 / per_second)]), server)) / 1e6

    def overtaken(self, token: Token, keys: Sequence[str]) -> set[str]:
        calls = {
            slot: Call(names=names, keys=[self.fence_of(slot)], args=[*self._taken(token, slot), *names])
            for slot, names in self._by_slot(keys).items()
        }
        return set(self._with_letter(scripts.OVERTAKEN, calls, b"f"))

    def as_cached(self, value: Any) -> Any:
        with own_write():
            return self._codec.decode(self._codec.encode(value))

    def sweep(self) -> None:
        with self._server() as server:
            for names in codec.found(server, self._names.patterns()):
                server.unlink(*names)

    def cached_ids(self) -> Iterator[str]:
        with self._server() as server:
            yield from codec.ids_of(server, self._names.patterns()[0])

    def _decode(self, raw: Mapping[str, bytes | None], level: int = logging.WARNING) -> dict[str, Any]:
        """Return the values of the keys that have one; delete those of other serializers, to be claimed."""
        values, unreadable = {}, []
        for key, value in raw.items():
            if value is not None:
                try:
                    values[key] = self._codec.decode(value)
                except Exception as error:  # noqa: BLE001 - a serializer's own
                    logger.log(level, "Cannot decode %s, treated as a miss: %s", key, describe(error))
                    unreadable.append(key)
        if unreadable:
            self._each("UNLINK", self._names.made(unreadable))
        return values

    def _server(self) -> AbstractContextManager[Any]:
        return connected(self.alias, self._codec.connect, self.breaker)


@contextmanager
def connected(alias: str, connect: Callable[[], Any], breaker: Breaker) -> Iterator[Any]:
    """Yield the client of a cache's server for one call, and report its result to the breaker.

    Raises:
        CircuitOpen: the breaker does not admit the call.
        StoreUnavailable: the server does not answer, or answers with an error.
    """
    if breaker.is_open:
        breaker.admit()
    server = None
    try:
        server = connect()
        if observer.get() is None:  # the common case costs one lookup
            yield server
        else:
            with called(alias):
                yield server
    except (RedisError, RedisClusterException, OSError) as error:
        raise failed(alias, server, error, breaker) from error
    except BaseException:  # an interrupt: the pool has the connection while its answer is outstanding
        disconnect_idle(server)
        raise
    else:
        if breaker.is_open:
            breaker.succeeded()
