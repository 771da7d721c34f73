"""Ask a Redis server about itself, on a connection that neither retries nor waits long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import islice
from typing import Any

from warmer.exceptions import CommandRefused, StoreUnavailable
from warmer.report import describe

if find_spec("redis"):
    from redis import Connection, ConnectionPool, Redis, SSLConnection
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError, ResponseError
    from redis.retry import Retry
    from redis.sentinel import MasterNotFoundError

    from warmer.stores.redis.codec import SCAN_COUNT, batches
    from warmer.stores.redis.connections import address, tags

TIMEOUT_SECONDS = 5.0
# About 10 ms of the server's time, in pieces. SCAN follows a hash, so its order is random enough.
SAMPLE_KEYS = 2_000
# Part of the names of keys that the doctor writes.
OWN_PREFIX = "warmer-doctor:"
# The user lacks the permission, the command was renamed, or the server is managed.
_REFUSALS = ("no permissions", "unknown command", "unknown subcommand", "not allowed", "not available")


@dataclass(frozen=True, kw_only=True)
class Place:
    """The address of a Redis server, how a client logs in, and how redis-cli reaches it.

    Attributes:
        text: the address for display, without credentials.
        path: the path of a unix socket.
        service: the name of the master, if Sentinels provide the address.
        timeout, connect_timeout: the seconds that a client waits; None: forever.
    """

    text: str
    host: str = ""
    port: int = 0
    path: str = ""
    database: int = 0
    tls: bool = False
    service: str = ""
    username: str = ""
    has_password: bool = False
    timeout: float | None = None
    connect_timeout: float | None = None

    @property
    def redis_cli(self) -> str:
        """The start of a redis-cli command line for the server; redis-cli prompts for a password."""
        to = f"-s {self.path}" if self.path else f"-h {self.host} -p {self.port}"
        parts = ["redis-cli", "-h HOST-OF-THE-MASTER" if self.service else to]
        parts += ["--tls"] if self.tls else []
        parts += [f"--user {self.username}"] if self.username else []
        parts += ["--askpass"] if self.has_password else []
        return " ".join(parts)

    def config_set(self, name: str, value: str) -> str:
        """Return how to change an option of the server, now and for good."""
        line = f"{self.redis_cli} CONFIG SET {name} {value}"
        return f"{line}\nand in redis.conf, for its next start: {name} {value}"


@dataclass(frozen=True, kw_only=True)
class SampledKey:
    """One key of a sample, the seconds until it expires (None: never), and its bytes in memory, if known."""

    name: str
    ttl: float | None
    bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Sentinel:
    """The answer of one Sentinel to `SENTINEL MASTER`, or the problem why there is none."""

    address: str
    state: Mapping[str, Any]
    problem: str = ""

    @property
    def master(self) -> str:
        """The address of the master, as host:port."""
        return f"{self.state['ip']}:{self.state['port']}"


class Server:
    """A Redis server.

    Its methods raise `StoreUnavailable` if it does not answer, and `CommandRefused` if it does not allow the
    command; `place` and `sentinels` do not need it.

    Args:
        client: one of the project's clients, for its address, login and options.
        is_node: whether the project uses it as a node of a Redis Cluster.
    """

    def __init__(self, client: Redis, *, is_node: bool = False) -> None:
        self.is_node = is_node
        self._ordinary = client
        self._pool: Any = client.connection_pool

    @cached_property
    def place(self) -> Place:
        """The server's address; does not connect."""
        options: dict[str, Any] = self._pool.connection_kwargs
        kind: Any = self._pool.connection_class
        link = kind(**options)
        is_tcp = "path" not in options and not hasattr(self._pool, "service_name")
        return Place(
            text=address(self._ordinary),
            host=str(options.get("host", "localhost")) if is_tcp else "",
            port=int(options.get("port", 6379)) if is_tcp else 0,
            path=str(options.get("path", "")),
            database=int(options.get("db") or 0),
            tls=issubclass(kind, SSLConnection),
            service=str(getattr(self._pool, "service_name", "")),
            username=str(options.get("username") or ""),
            has_password=bool(options.get("password")),
            # The library's own defaults differ between its versions.
            timeout=_seconds(link.socket_timeout),
            connect_timeout=_seconds(link.socket_connect_timeout),
        )

    def ask(self, *command: str | int) -> Any:
        """Send a command; return the answer as redis-py parses it, e.g. `ask("CONFIG GET", "save")`."""
        with self._asking(str(command[0])) as client:
            send: Any = client.execute_command
            return send(*command)

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """The answer to INFO, with all sections merged; queried once."""
        return dict(self.ask("INFO"))

    def local(self, key: str) -> str:
        """Return a key name that this server accepts: on a node of a cluster, one in its slots."""
        if not self.is_node:
            return key
        nodes = self.ask("CLUSTER NODES").values()
        slots = next(each["slots"] for each in nodes if "myself" in each["flags"])
        return f"{{{tags()[int(slots[0][0])]}}}{key}" if slots else key

    def setting(self, name: str) -> str:
        """Return a setting of the server; empty if it does not exist."""
        return str(self.ask("CONFIG GET", name).get(name, ""))

    def serves_without_password(self) -> bool:
        """Return whether the server accepts anyone who can connect."""
        with self._connect(username=None, password=None, credential_provider=None) as client:
            try:
                return bool(client.ping())
            except (RedisError, OSError):
                return False

    @cached_property
    def sample(self) -> tuple[SampledKey, ...]:
        """Up to `SAMPLE_KEYS` keys of the database except our own, found with SCAN; read once."""
        with self._asking("SCAN") as client:
            names: Iterator[bytes] = client.scan_iter(count=SCAN_COUNT)
            found = [key for batch in batches(islice(names, SAMPLE_KEYS)) for key in _keys(client, batch)]
        return tuple({key.name: key for key in found if OWN_PREFIX not in key.name}.values())

    @cached_property
    def sentinels(self) -> tuple[Sentinel, ...]:
        """What each configured Sentinel reports about the master; empty without Sentinels."""
        manager = getattr(self._pool, "sentinel_manager", None)
        return tuple(self._ask_sentinel(each) for each in manager.sentinels) if manager else ()

    def close(self) -> None:
        """Close the connection."""
        if "_client" in vars(self):
            self._client.close()

    @cached_property
    def _client(self) -> Redis:
        return self._connect()

    def _connect(self, **changes: Any) -> Redis:
        """Return a client with the project's own options except `changes`."""
        options, kind = dict(self._pool.connection_kwargs), self._pool.connection_class
        if self.place.service:
            options.pop("connection_pool")
            options |= self._master()
            kind = SSLConnection if self.place.tls else Connection
        return _impatient(kind, options | changes)

    def _master(self) -> dict[str, Any]:
        for each in self.sentinels:
            if not each.problem:
                return {"host": each.state["ip"], "port": each.state["port"]}
        raise MasterNotFoundError("; ".join(f"{each.address}: {each.problem}" for each in self.sentinels))

    def _ask_sentinel(self, sentinel: Any) -> Sentinel:
        pool = sentinel.connection_pool
        place = f"{pool.connection_kwargs.get('host')}:{pool.connection_kwargs.get('port')}"
        with _impatient(pool.connection_class, dict(pool.connection_kwargs)) as client:
            try:
                state: Any = client.sentinel_master(self.place.service)
                return Sentinel(address=place, state=dict(state))
            except (RedisError, OSError) as error:
                return Sentinel(address=place, state={}, problem=describe(error))

    @contextmanager
    def _asking(self, command: str) -> Iterator[Redis]:
        try:
            yield self._client
        except (RedisError, OSError, ValueError) as error:
            if isinstance(error, ResponseError) and any(part in str(error) for part in _REFUSALS):
                text = f"The server does not allow {command.split()[0]} to this user: {describe(error)}"
                raise CommandRefused(text) from error
            text = f"{self.place.text} does not answer as expected: {describe(error)}"
            raise StoreUnavailable(text) from error


def _keys(client: Redis, names: list[bytes]) -> Iterator[SampledKey]:
    """Return the TTL and the size of keys, in one round trip."""
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.pttl(name)
        pipeline.memory_usage(name)
    answers = pipeline.execute(raise_on_error=False)
    for name, left, size in zip(names, answers[::2], answers[1::2], strict=True):
        if isinstance(left, Exception):
            raise left
        if left != -2:  # it has expired in the meantime
            yield SampledKey(
                name=name.decode(errors="replace"),
                ttl=None if left == -1 else left / 1000,
                bytes=size if isinstance(size, int) else None,
            )


def _impatient(kind: Any, options: dict[str, Any]) -> Redis:
    """Return a client that neither retries nor waits long, for connections of a class with options."""
    waits = {
        name: min(_seconds(options.get(name)) or TIMEOUT_SECONDS, TIMEOUT_SECONDS)
        for name in ("socket_timeout", "socket_connect_timeout")
    }
    # A server that cannot save also rejects the PING of a health check, and nothing could be read.
    quiet = {"retry": Retry(NoBackoff(), 0), "retry_on_timeout": False, "health_check_interval": 0}
    pool = ConnectionPool(connection_class=kind, max_connections=2, **options | waits | quiet)
    return Redis.from_pool(pool)


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
