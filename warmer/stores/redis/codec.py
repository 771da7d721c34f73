"""What a Redis cache backend of Django makes of keys and values, so that `cache.get` reads what we write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from typing import Any, Protocol

from django.core.cache.backends.base import BaseCache, default_key_func
from django.core.cache.backends.redis import RedisCache as DjangoRedisCache
from redis import Redis

from warmer.context import own_write
from warmer.exceptions import StoreUnavailable
from warmer.keys import KeyTemplate, beside, glob_escape, is_id_text
from warmer.report import describe
from warmer.stores.claims import Claim, Token

if find_spec("django_redis"):
    from django_redis.cache import RedisCache as DjangoRedis
    from django_redis.client import DefaultClient, HerdClient, ShardClient

    HAS_DJANGO_REDIS = True
else:  # pragma: no cover - the test environment has it
    HAS_DJANGO_REDIS = False


# How many keys are looked at in a round trip: about a millisecond of the server's time.
SCAN_COUNT = 1_000
# Stands for the id in a key that is not any one's.
PLACE = "\0"


class Codec(Protocol):
    """One cache's connection and values; `encode` raises what the serializer does, or ValueError."""

    def connect(self) -> Redis: ...
    def encode(self, value: Any) -> bytes: ...
    def decode(self, value: bytes) -> Any: ...


class DjangoRedisCodec:
    """Of django-redis, with its serializer and compressor."""

    def __init__(self, cache: Any) -> None:
        self._client = getattr(cache.client, "unguarded", cache.client)
        self._dumps = self._client._serializer.dumps
        self._compress = self._client._compressor.compress
        self.decode = self._client.decode
        # Always the primary: a replica may still hold what was invalidated.
        self.connect = partial(self._client.get_client, write=True)

    def encode(self, value: Any) -> bytes:
        # What the client's own `encode` does, in half its time; but of a subclass of int the serializer
        # is asked, where that would store the bare number, which comes back as an int.
        if type(value) is int:
            return str(value).encode()
        encoded: bytes = self._compress(self._dumps(value))
        return encoded


class ClusterCodec(DjangoRedisCodec):
    """Of our client for a Redis Cluster."""

    def __init__(self, cache: Any) -> None:
        super().__init__(cache)
        self.connect = self._client.connect

    def primaries(self) -> list[Redis]:
        """Return a client of each primary."""
        primaries: list[Redis] = self._client.connect().primaries()
        return primaries


class OtherClientCodec(DjangoRedisCodec):
    """Of a client that encodes in its own way."""

    def encode(self, value: Any) -> bytes:
        encoded = self._client.encode(value)
        return encoded if isinstance(encoded, bytes) else str(encoded).encode()


class DjangoCodec:
    """Of Django's own Redis backend."""

    def __init__(self, cache: Any) -> None:
        self._client = cache._cache

    def connect(self) -> Redis:
        client: Redis = self._client.get_client(None, write=True)
        return client

    def encode(self, value: Any) -> bytes:
        encoded = self._client._serializer.dumps(value)
        return encoded if isinstance(encoded, bytes) else str(encoded).encode()

    def decode(self, value: bytes) -> Any:
        return self._client._serializer.loads(value)


def codec_of(cache: BaseCache) -> Codec | None:
    """Return the codec of a cache in one Redis server; None for any other cache.

    django-redis' `ShardClient` spreads keys over servers, where no script is atomic, and its
    `HerdClient` wraps values: neither is one Redis server with plain values.
    """
    if isinstance(cache, DjangoRedisCache):
        return DjangoCodec(cache)
    if not HAS_DJANGO_REDIS or not isinstance(cache, DjangoRedis):
        return None
    if issubclass(cache._client_cls, HerdClient | ShardClient):
        return None
    if getattr(cache._client_cls, "is_cluster", False):
        return ClusterCodec(cache)
    as_usual = cache._client_cls.encode is DefaultClient.encode
    return DjangoRedisCodec(cache) if as_usual else OtherClientCodec(cache)


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Values as the cache encodes them, and why some could not be."""

    values: Mapping[str, Any]
    errors: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@own_write()
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


def claim_of(
    asked: Iterable[tuple[Iterable[str], Any]],
    token: Token,
    id: str,
    decode: Callable[[Mapping[str, bytes]], dict[str, Any]],
) -> tuple[Claim, dict[str, bytes]]:
    """Return the claim that the script answered, and what is cached but cannot be read.

    Args:
        asked: keys, and the script's answer about them.
    """
    answers: dict[str, dict[str, bytes]] = {letter: {} for letter in "mtva"}
    for keys, (*_, letters, texts) in asked:
        for key, letter, text in zip(keys, letters.decode(), texts, strict=True):
            answers[letter][key] = text
    claim = Claim(
        id=id,
        token=token,
        mine=tuple(answers["m"]),
        theirs={key: holder.decode() for key, holder in answers["t"].items()},
        values=decode(answers["v"]),
        absent=frozenset(answers["a"]),
    )
    return claim, {key: value for key, value in answers["v"].items() if key not in claim.values}


class Names:
    """The names of one job's keys on the server of one cache.

    Attributes:
        head: what Django's own key function puts before every key; None: the project has a key function of
            its own.
    """

    def __init__(self, cache: Any, template: KeyTemplate, *, with_absences: bool) -> None:
        self._make_key = cache.make_key
        self._template = template
        self._with_absences = with_absences
        self.head: str | None = str(cache.make_key("")) if cache.key_func is default_key_func else None
        self._first = cache.make_key(PLACE)

    def made(self, keys: Iterable[str]) -> list[str]:
        """Return what the server calls the keys.

        Raises:
            StoreUnavailable: the project's key function called them otherwise before.
        """
        head = self.head
        if head is None:
            if self._make_key(PLACE) != self._first:
                raise StoreUnavailable(
                    "The cache's KEY_FUNCTION makes several names of one key, depending on the caller (see "
                    "the check warmer.E005)"
                )
            return list(map(self._make_key, keys))
        return [head + key for key in keys]

    def server_keys(self, keys: Iterable[str], *, claims: bool = False) -> list[str]:
        """Return, of each key, what the server calls it, its absence mark (if absences are cached) and
        its claim (if that is asked for)."""
        beside_it = [*(["absent"] if self._with_absences else []), *(["claim"] if claims else [])]
        made = self.made(keys)
        if not beside_it:
            return made
        return [name for key in made for name in (key, *(beside(key, kind) for kind in beside_it))]

    def patterns(self) -> list[str]:
        """Return what the server calls any key, with `PLACE` for the id."""
        return self.server_keys([f"{self._template.prefix}{PLACE}{self._template.suffix}"])

    def own(self, name: str, version: str) -> str:
        """Return what the server calls something of our own, which no key of the project is called."""
        # A project's own way of making keys may leave the version out.
        own = name if self.head is not None else f"{version}:{name}"
        made: str = self._make_key(own, version=version)
        return made


def ids_of(server: Redis, made: str) -> Iterator[str]:
    """Yield the ids in the keys that are there; some may come twice.

    Args:
        server: where to look.
        made: the form of the keys as the server knows them, with `PLACE` for the id.
    """
    head, place, tail = made.partition(PLACE)
    if not place:
        return  # a key function that keeps no id in a key: nothing can be listed
    pattern = f"{glob_escape(head)}*{glob_escape(tail)}"
    for name in server.scan_iter(match=pattern, count=SCAN_COUNT):
        key = name.decode(errors="replace")
        id = key[len(head) : len(key) - len(tail)]
        if is_id_text(id):  # else it is another key, whose middle goes over a colon
            yield id


def found(server: Redis, patterns: Iterable[str]) -> Iterator[list[str]]:
    """Yield the names of the keys that are there, some at a time (see `ids_of`)."""
    for made in patterns:
        for ids in batches(ids_of(server, made)):
            yield [made.replace(PLACE, id) for id in ids]


def batches(items: Iterable[Any], size: int = SCAN_COUNT) -> Iterator[list[Any]]:
    """Yield lists of at most `size` items."""
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def milliseconds(seconds: float) -> int:
    """Return a duration as the server's commands take it: at least 1."""
    return max(1, int(seconds * 1000))


def microseconds(length: timedelta) -> int:
    """Return a duration as the scripts count it."""
    return length // timedelta(microseconds=1)
