"""Keys in one Redis server: the fence is kept by Lua scripts, each atomic and one round trip."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, cast

from django.core.cache import caches
from redis import Redis
from redis.exceptions import RedisError

from warmer.conf import conf
from warmer.context import own_write
from warmer.exceptions import StoreUnavailable
from warmer.report import describe
from warmer.stores.base import Cached, Done, Invalidation, Peeked, Store, UnderWay, Written
from warmer.stores.breaker import Breaker, breaker_of
from warmer.stores.claims import Claim, Record, Token
from warmer.stores.instrumentation import called, looked_up, observer
from warmer.stores.redis import scripts
from warmer.stores.redis.codec import (
    PLACE,
    Codec,
    Encoded,
    Names,
    claim_of,
    codec_of,
    encode_all,
    found,
    ids_of,
    microseconds,
    milliseconds,
)
from warmer.stores.redis.connections import disconnect_idle, is_outage, unavailable
from warmer.stores.redis.counters import RedisCounters
from warmer.stores.redis.damage import Damages

logger = logging.getLogger(__name__)

# Versions of their own keep these apart from the keys, whatever `VERSION` the keys have.
FENCE_VERSION, DAMAGE_VERSION, TURN_VERSION = "warmer-fence", "warmer-damaged", "warmer-turn"


class RedisStore(Store):
    """One job's keys in one Redis server. The full guarantees hold here."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        cache = caches[self.alias]
        codec = codec_of(cache)
        assert codec is not None, f"the cache {self.alias!r} is not one Redis server"
        self._codec: Codec = codec
        self._breaker = breaker_of(self.alias)
        self._names = Names(cache, self.template, with_absences=bool(self.absent_timeout))
        self.fence_key = self._names.own(self.fence, FENCE_VERSION)
        self.damages: Damages = Damages(server=self._server, key=self._names.own("fences", DAMAGE_VERSION))
        self.counters = RedisCounters(server=self._server, fence=self.fence_key)

    @property
    def lists_keys(self) -> bool:
        return PLACE in self._names.patterns()[0]  # a project's own way of making keys may leave none

    def ping(self) -> None:
        with self._server() as server:  # not by PING, which a node of a cluster answers like any server
            server.exists(self.fence_key, f"{self.fence_key}:ping")

    def token(self, keys: Collection[str]) -> Token:
        with self._server() as server:
            answer = scripts.TOKEN(keys=[self.fence_key], args=self._token_args(), client=server)
            return scripts.token_of(self.fence_key, answer, server, self.damages)

    def _token_args(self) -> list[Any]:
        return [secrets.token_hex(8), scripts.FENCE_LIFETIME_MS, microseconds(conf.REPLICA_LAG)]

    def lookup(self, keys: Sequence[str], *, claims: bool = False) -> Cached:
        with self._server() as server:
            raw: Any = server.mget(self._names.server_keys(keys, claims=claims)) if keys else []
        stride = len(raw) // len(keys) if keys else 1
        # Of a value that cannot be read, who waits for it would else warn at every look.
        level = logging.DEBUG if claims else logging.WARNING
        values = self._decode(dict(zip(keys, raw[::stride], strict=True)), level)
        marks = raw[1::stride] if self.absent_timeout else ()
        standing = raw[stride - 1 :: stride] if claims else ()
        texts = {key: text for key, text in zip(keys, standing, strict=False) if text is not None}
        marked = {key for key, mark in zip(keys, marks, strict=False) if mark is not None}
        absent = marked - values.keys()
        if not claims and observer.get() is not None:  # who waits looks at the same keys again and again
            looked_up(self.alias, keys=len(keys), found=len(values) + len(absent))
        records = {key: record for key, text in texts.items() if (record := Record.parse(text))}
        return Cached(values=values, absent=frozenset(absent), claims=records)

    def peek(self, key: str) -> Any:
        if self.absent_timeout:
            return super().peek(key)
        head = self._names.head
        made = self._names.made((key,))[0] if head is None else head + key
        with self._server() as server:
            # Not GET, which fails for a key of another type, where this says that there is no value.
            (raw,) = cast(Any, server).execute_command("MGET", made)
        value = Peeked.NOTHING if raw is None else self._decode({key: raw}).get(key, Peeked.NOTHING)
        if observer.get() is not None:
            looked_up(self.alias, keys=1, found=int(value is not Peeked.NOTHING))
        return value

    def claim(self, keys: Sequence[str], *, seconds: float) -> Claim:
        return self._claim(dict.fromkeys(keys, b""), secrets.token_hex(8), seconds)

    def _claim(self, keys: Mapping[str, bytes], id: str, seconds: float) -> Claim:
        """Claim keys; each is mapped to what is cached there but counts as nothing."""
        names, args = self._claim_call(self.fence_key, keys, id, seconds)
        with self._server() as server:
            answer = scripts.CLAIM(keys=names, args=args, client=server)
            token = scripts.token_of(self.fence_key, answer, server, self.damages)
        return self._claimed([(keys, answer)], token, id, seconds)

    def _claim_call(
        self, fence: str, keys: Mapping[str, bytes], id: str, seconds: float
    ) -> tuple[list[str], list[Any]]:
        *args, lag = self._token_args()
        args += (id, milliseconds(seconds), 1 if self.absent_timeout else 0, lag)
        args += [part for item in keys.items() for part in item]
        return [fence, *self._names.server_keys(keys, claims=True)], args

    def _claimed(
        self, asked: Iterable[tuple[Iterable[str], Any]], token: Token, id: str, seconds: float
    ) -> Claim:
        """Return the claim that the script answered, on the keys that it was asked for."""
        claim, unreadable = claim_of(asked, token, id, partial(self._decode, level=logging.DEBUG))
        return claim + self._claim(unreadable, id, seconds) if unreadable else claim

    def write(
        self,
        token: Token,
        values: Mapping[str, Any],
        absent: Collection[str] = (),
        *,
        claim: Claim | None = None,
    ) -> Written:
        encoded = encode_all(values, self._codec.encode)
        return self._write(self._call(self.fence_key, token, encoded, absent, claim))

    def begin_write(
        self, token: Token, values: Mapping[str, Any], absent: Collection[str] = ()
    ) -> UnderWay[Written]:
        encoded = encode_all(values, self._codec.encode)
        call = self._call(self.fence_key, token, encoded, absent, None)
        again = partial(self._write, call)  # writing twice is harmless: both are under the fence
        if not call.names or self._breaker.is_open:
            return Done(result=again())
        server = self._codec.connect()
        return scripts.CallUnderWay(
            scripts.WRITE, call.keys, call.args, server, read=call.read, again=again, alias=self.alias
        )

    def _call(
        self,
        fence: str,
        token: Token,
        encoded: Encoded,
        absent: Collection[str],
        claim: Claim | None,
    ) -> scripts.WriteCall:
        count = len(encoded.values) if self.jitter else 1
        return scripts.WriteCall.make(
            token,
            encoded,
            absent,
            claim,
            fence=fence,
            server_keys=partial(self._names.server_keys, claims=claim is not None),
            lives=[milliseconds(self.timeout - random.uniform(0, self.jitter)) for _ in range(count)],
            absence_ms=milliseconds(self.absent_timeout) if self.absent_timeout else 0,
            head=-1 if self._names.head is None else len(self._names.head.encode()),
        )

    def _write(self, call: scripts.WriteCall) -> Written:
        if not call.names:
            return call.read((b"", b""))
        with self._server() as server:
            return call(server)

    def invalidate(self, keys: Collection[str]) -> None:
        self.invalidate_together([Invalidation(store=self, keys=keys)])

    @classmethod
    def invalidate_together(cls, invalidations: Sequence[Invalidation]) -> None:
        call = scripts.InvalidateCall(conf.FENCE_RECORDS)
        for each in invalidations:
            store = cast(RedisStore, each.store)
            if each.keys is None and store.template.keyed:
                call.add_whole(store.fence_key)
            else:
                names = list(each.keys) if each.keys is not None else [store.template.key()]
                call.add(store.fence_key, names, store._names.server_keys(names, claims=True))
        if call.keys:
            with store._server() as server:
                if damaged := call(server):
                    store.damages.note(server, damaged)

    def forget(self, keys: Collection[str] | None = None) -> None:
        with self._server() as server:
            server.delete(self.fence_key)

    def remaining(self, keys: Sequence[str]) -> dict[str, float | None]:
        left = self._milliseconds_left(keys)
        return {key: None if ms < 0 else ms / 1000 for key, ms in left.items() if ms != -2}

    def _milliseconds_left(self, keys: Sequence[str]) -> dict[str, int]:
        """Return what PTTL says: -1 of a key that stays, -2 of one that is not there."""
        with self._server() as server:
            pipeline = server.pipeline(transaction=False)
            for key in self._names.made(keys):
                pipeline.pttl(key)
            return dict(zip(keys, pipeline.execute(), strict=True))

    def fresh(self, keys: Sequence[str], *, seconds: float) -> Collection[str]:
        with self._server() as server:
            letters = scripts.FRESH(keys=self._names.made(keys), args=[int(seconds * 1000)], client=server)
        if letters.count(b"y") == len(keys):
            return keys
        return [key for key, letter in zip(keys, letters.decode(), strict=True) if letter == "y"]

    def turn(self, *, per_second: float, name: str) -> float:
        key = self._names.own(name, TURN_VERSION)
        with self._server() as server:
            return float(scripts.PACE(keys=[key], args=[int(1_000_000 / per_second)], client=server)) / 1e6

    def overtaken(self, token: Token, keys: Sequence[str]) -> set[str]:
        with self._server() as server:
            args = [token.generation, token.counter, *keys]
            letters = scripts.OVERTAKEN(keys=[self.fence_key], args=args, client=server)
        return {key for key, letter in zip(keys, letters.decode(), strict=True) if letter == "f"}

    def as_cached(self, value: Any) -> Any:
        with own_write():
            return self._codec.decode(self._codec.encode(value))

    def sweep(self) -> None:
        with self._server() as server:
            for names in found(server, self._names.patterns()):
                server.unlink(*names)

    def cached_ids(self) -> Iterator[str]:
        with self._server() as server:
            yield from ids_of(server, self._names.patterns()[0])

    def _decode(self, raw: Mapping[str, bytes | None], level: int = logging.WARNING) -> dict[str, Any]:
        """Return the values of the keys that have one. A value of another serializer is a miss."""
        values = {}
        for key, value in raw.items():
            if value is not None:
                try:
                    values[key] = self._codec.decode(value)
                except Exception as error:  # noqa: BLE001 - a serializer's own
                    logger.log(level, "Cannot decode %s, treated as a miss: %s", key, describe(error))
        return values

    def _server(self) -> AbstractContextManager[Redis]:
        return connected(self.alias, self._codec.connect, self._breaker)


@contextmanager
def connected(alias: str, connect: Callable[[], Redis], breaker: Breaker) -> Iterator[Redis]:
    """Yield the client of the server of the cache `alias`, for one call, and tell the breaker how it ended.

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
    except (RedisError, OSError) as error:
        if is_outage(error):
            breaker.failed(error)
        elif breaker.is_open:
            breaker.succeeded()
        raise unavailable(alias, server, error) from error
    except StoreUnavailable:
        raise  # nothing was sent: the key has no certain name
    except BaseException:
        # An interrupt. redis-py returns the connection to its pool with the answer still to come; a later
        # call on it would take that answer for its own.
        disconnect_idle(server)
        raise
    else:
        if breaker.is_open:
            breaker.succeeded()
