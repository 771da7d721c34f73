"""Look at a cache's Redis server: what the doctor needs to know, as plain data.

A server may forbid a command to this user (a managed one often CONFIG): that raises `CommandRefused`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import Any

from redis import Connection, Redis, SSLConnection
from redis.exceptions import RedisError, ResponseError
from redis.sentinel import MasterNotFoundError

from warmer.exceptions import StoreUnavailable
from warmer.report import describe
from warmer.stores.impatience import ask_sentinel, impatient, seconds
from warmer.stores.looks import (
    CommandRefused,
    KeySeen,
    Place,
    Reach,
    Reached,
    Sample,
    SentinelSeen,
    SlowCommand,
)
from warmer.stores.reaching import explain, try_to_answer, try_to_write
from warmer.stores.redis.codec import SCAN_COUNT, Codec, address, batches
from warmer.stores.redis.store import connected

# About 10 ms of the server's time, in pieces. SCAN's order is that of a hash: as good as drawn.
SAMPLE_KEYS = 2_000
# A version of its own keeps what the doctor writes apart from the keys.
OWN_VERSION = "warmer-doctor"
# Their first argument is no key, and may be a secret or a whole script.
KEYLESS = {"ACL", "AUTH", "CLIENT", "CONFIG", "EVAL", "EVALSHA", "FCALL", "HELLO", "MIGRATE", "SCRIPT"}
SHOWN_CHARACTERS = 60
# Of a user without the right, of a command that was renamed away, of a managed server.
REFUSALS = ("no permissions", "unknown command", "unknown subcommand", "not allowed", "not available")


class Server:
    """One cache's Redis server, looked at through a connection that neither retries nor waits long.

    Everything but `place`, `reach`, `accepts_writes` and `sentinels` raises `StoreUnavailable` when the
    server does not answer, and `CommandRefused` when it does not allow the command.
    """

    def __init__(self, *, alias: str, codec: Codec, cache: Any) -> None:
        self.alias = alias
        self._codec = codec
        self._cache = cache

    @cached_property
    def place(self) -> Place:
        """Where the server is, and how the settings get in."""
        pool: Any = self._ordinary.connection_pool
        options: dict[str, Any] = pool.connection_kwargs
        kind: Any = pool.connection_class
        link = kind(**options)  # not connected
        elsewhere = "path" in options or hasattr(pool, "service_name")
        return Place(
            text=address(self._ordinary),
            host="" if elsewhere else str(options.get("host", "localhost")),
            port=0 if elsewhere else int(options.get("port", 6379)),
            path=str(options.get("path", "")),
            database=int(options.get("db") or 0),
            tls=issubclass(kind, SSLConnection),
            service=str(getattr(pool, "service_name", "")),
            username=str(options.get("username") or ""),
            has_password=bool(options.get("password")),
            # What the library takes where the settings do not say depends on its version.
            timeout=seconds(link.socket_timeout),
            connect_timeout=seconds(link.socket_connect_timeout),
        )

    def reach(self) -> Reached:
        """Try to get an answer from the server, and say why there is none."""
        try:
            client = self._client
        except (RedisError, OSError) as error:
            return explain(error, self.place)
        found = try_to_answer(client, self.place)
        if found.how == Reach.ANSWERS and self._is_sentinel():
            return Reached(how=Reach.SENTINEL)
        return found

    def accepts_writes(self) -> Reached:
        """Write a key of our own, read it back and remove it."""
        return try_to_write(self._client, self.place, self._own_key("trial"))

    def lets_in_without_password(self) -> bool:
        """Say whether anyone who can connect is served."""
        client = self._connect(username=None, password=None, credential_provider=None)
        try:
            return try_to_answer(client, self.place).how == Reach.ANSWERS
        finally:
            client.connection_pool.disconnect()

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """What INFO says, all sections in one; asked once."""
        with self._asking("INFO") as server:
            return dict(server.info())

    def setting(self, name: str) -> str:
        """Return a setting of the server by CONFIG GET; empty when it has none of that name."""
        with self._asking("CONFIG") as server:
            found: Any = server.config_get(name)
            return str(found.get(name, ""))

    def clock(self) -> float:
        """Return the server's time, in seconds since 1970."""
        with self._asking("TIME") as server:
            seconds, micros = server.time()
            return int(seconds) + int(micros) / 1e6

    @cached_property
    def sample(self) -> Sample:
        """Some keys of the database but our own: by SCAN, in batches, never by KEYS; looked at once."""
        with self._asking("SCAN") as server:
            total = int(server.dbsize())
            names: Iterator[bytes] = server.scan_iter(count=SCAN_COUNT)
            found: dict[str, KeySeen] = {}
            for batch in batches(islice(names, SAMPLE_KEYS)):
                for key in _look_at(server, batch):
                    if not key.name.startswith(self._own_key("")):
                        found[key.name] = key
        return Sample(keys=tuple(found.values()), total=total)

    @property
    def pickles(self) -> bool:
        """Whether this cache's values are pickles."""
        # Too short for a compressor; every protocol since 2 begins and ends so.
        raw = self._codec.encode(None)
        return raw[:1] == b"\x80" and raw[-1:] == b"."

    def slow_log(self, limit: int) -> tuple[SlowCommand, ...]:
        """Return the latest entries of the slow log."""
        with self._asking("SLOWLOG") as server:
            entries: list[dict[str, Any]] = server.slowlog_get(limit)
        return tuple(
            SlowCommand(
                text=_command(entry["command"]),
                at=float(entry["start_time"]),
                ms=entry["duration"] / 1000,
            )
            for entry in entries
        )

    @cached_property
    def sentinels(self) -> tuple[SentinelSeen, ...]:
        """What every Sentinel of the settings says of the master; none when there is no Sentinel."""
        manager: Any = getattr(self._ordinary.connection_pool, "sentinel_manager", None)
        if manager is None:
            return ()
        return tuple(ask_sentinel(each, self.place.service) for each in manager.sentinels)

    def note(self, name: str) -> str | None:
        """Return what was written down on the server before."""
        with self._asking("GET") as server:
            found: Any = server.get(self._own_key(name))
        return None if found is None else found.decode(errors="replace")

    def write_down(self, name: str, text: str, *, seconds: int) -> None:
        """Keep a text on the server, for the next look."""
        with self._asking("SET") as server:
            server.set(self._own_key(name), text, ex=seconds)

    def close(self) -> None:
        """Give the connection back."""
        if "_client" in self.__dict__:
            self._client.connection_pool.disconnect()

    def _is_sentinel(self) -> bool:
        try:
            return "sentinel_masters" in self.info
        except (CommandRefused, StoreUnavailable):
            return False

    @cached_property
    def _ordinary(self) -> Redis:
        return self._codec.connect()

    @cached_property
    def _client(self) -> Redis:
        return self._connect()

    def _connect(self, **changes: Any) -> Redis:
        """Return a client with the cache's own settings but `changes`, which does not wait long."""
        pool: Any = self._ordinary.connection_pool
        options, kind = dict(pool.connection_kwargs), pool.connection_class
        if self.place.service:
            options.pop("connection_pool")
            options |= self._master()
            kind = SSLConnection if self.place.tls else Connection
        return impatient(kind, options | changes)

    def _master(self) -> dict[str, Any]:
        """Return where the Sentinels say that the master is."""
        for seen in self.sentinels:
            if seen.master:
                host, _, port = seen.master.rpartition(":")
                return {"host": host, "port": int(port)}
        problems = "; ".join(f"{seen.address}: {seen.problem}" for seen in self.sentinels)
        raise MasterNotFoundError(problems)

    def _own_key(self, name: str) -> str:
        made: str = self._cache.make_key(name, version=OWN_VERSION)
        return made

    @contextmanager
    def _asking(self, command: str) -> Iterator[Redis]:
        try:
            client = self._client
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"The cache {self.alias!r} has no server: {describe(error)}") from error
        try:
            with connected(self.alias, self._codec, client) as server:
                yield server
        except StoreUnavailable as error:
            cause = error.__cause__
            if isinstance(cause, ResponseError) and any(part in str(cause) for part in REFUSALS):
                raise CommandRefused(
                    f"The server does not allow {command} to this user: {describe(cause)}"
                ) from error
            raise


def _look_at(server: Redis, names: list[bytes]) -> Iterator[KeySeen]:
    """Ask for the life and the size of keys, in one round trip."""
    pipeline = server.pipeline(transaction=False)
    for name in names:
        pipeline.pttl(name)
        pipeline.memory_usage(name)
    answers = pipeline.execute(raise_on_error=False)
    for name, left, size in zip(names, answers[::2], answers[1::2], strict=True):
        if isinstance(left, Exception):
            raise left
        if left != -2:  # it has gone meanwhile
            yield KeySeen(
                name=name.decode(errors="replace"),
                seconds=None if left == -1 else left / 1000,
                bytes=size if isinstance(size, int) else None,
            )


def _command(raw: Any) -> str:
    words = str(raw.decode(errors="replace") if isinstance(raw, bytes) else raw).split(" ")
    shown = words[:1] if words[0].upper() in KEYLESS else words[:2]
    return " ".join(shown)[:SHOWN_CHARACTERS]
