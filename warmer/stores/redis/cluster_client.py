"""A django-redis client for a Redis Cluster; a process shares one set of connections.

It is redis-py's client with bulk calls, and raises the same errors as the client of a single server.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from django_redis.client import DefaultClient
from django_redis.exceptions import ConnectionInterrupted
from redis.backoff import NoBackoff
from redis.cluster import PRIMARY, ClusterNode, RedisCluster
from redis.connection import parse_url
from redis.exceptions import (
    ClusterCrossSlotError,
    ClusterDownError,
    ConnectionError,
    MaxConnectionsError,
    RedisClusterException,
    SlotNotCoveredError,
    TimeoutError,
)
from redis.retry import Retry

from warmer.report import describe
from warmer.stores.redis.scripts import Command, Sent

K = TypeVar("K")

_LOCATION = re.compile(
    r"redis(?P<tls>s?)-cluster://(?P<login>.*@)?(?P<nodes>[^/?@]+)(?:/0?)?(?P<query>\?.*)?"
)


def node_at(address: str) -> Any:
    """Return the node at an address, HOST:PORT, with IPv6 addresses in brackets."""
    host, _, port = address.strip().rpartition(":")
    node: Callable[[str, int], Any] = ClusterNode
    return node(host.strip("[]"), int(port)) if host else node(port, 6379)


@contextmanager
def _as_outages() -> Iterator[None]:
    """Convert errors of redis-py's cluster client to those of a server that does not answer.

    It has the same class for a command whose keys are in several slots, as a server would reject it.
    """
    try:
        yield
    except RedisClusterException as error:
        if "same key slot" in str(error):
            raise ClusterCrossSlotError(str(error)) from error
        raise ConnectionError(describe(error)) from error


class Cluster(RedisCluster):
    """redis-py's client with bulk calls, and the errors of a single server's client."""

    # No retry after a time-out: it would take too long for a reader.
    ERRORS_ALLOW_RETRY: Any = (ConnectionError, ClusterDownError, SlotNotCoveredError)

    @_as_outages()
    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        return super().execute_command(*args, **kwargs)  # type: ignore[no-untyped-call]

    @_as_outages()
    def refresh(self) -> None:
        """Look up the nodes and their slots."""
        self.nodes_manager.initialize()

    def get_node(self, host: str | None = None, port: int | None = None, node_name: str | None = None) -> Any:
        """Return a node; create one that a redirection names and that has no slots yet."""
        node = super().get_node(host, port, node_name)  # type: ignore[no-untyped-call]
        if node is None and node_name:
            node = node_at(node_name)
            node.server_type = PRIMARY
            self.nodes_manager.nodes_cache[node.name] = node
        return node

    def each(self, command: str, names: Iterable[Any]) -> list[Any]:
        """Send a command for each name, in one round trip to each node; return the answers.

        A command with several keys would fail as a whole while a slot is moving, and redis-py's own pipeline
        raises errors that are no RedisError.
        """
        commands = {index: (self._slot_of(name), (command, name)) for index, name in enumerate(names)}
        return list(self.ask_each(commands).values())

    def mget(self, keys: Any, *args: Any) -> Any:
        names = [*([keys] if isinstance(keys, str | bytes) else keys), *args]
        return [found for (found,) in self.each("MGET", names)]

    def delete(self, *names: Any) -> int:
        return sum(self.each("DEL", names))

    def exists(self, *names: Any) -> int:
        return sum(self.each("EXISTS", names))

    def _slot_of(self, name: Any) -> int:
        slot: int = self.keyslot(name)  # type: ignore[no-untyped-call]  # also of bytes, as SCAN returns them
        return slot

    def keys(self, pattern: Any = "*", **kwargs: Any) -> Any:
        """Return the keys of all nodes that match."""
        return super().keys(pattern, target_nodes=self.PRIMARIES, **kwargs)

    def ask_each(
        self, commands: Mapping[K, tuple[int, Command]], *, again: Callable[[K], Any] | None = None
    ) -> dict[K, Any]:
        """Send commands, each to the node of its slot: one round trip a node. Return the answers in order.

        Args:
            commands: the slot and the command of each.
            again: repeats a command whose answer was an error, e.g. because the slot has moved; by default
                `execute_command`, which follows redirections. Commands must be harmless when repeated.
        """
        again = again or (lambda key: self.execute_command(*commands[key][1]))
        try:
            answers = self.send(commands).read()
        except MaxConnectionsError:
            raise
        except (ConnectionError, TimeoutError) as error:
            self.refresh()  # another node may have taken over
            if isinstance(error, TimeoutError):
                raise
            answers = self.send(commands).read()
        return {key: again(key) if isinstance(answers[key], Exception) else answers[key] for key in commands}

    def send(self, commands: Mapping[K, tuple[int, Command]]) -> Sent[K]:
        """Send commands, each to the node of its slot."""
        # By name: before redis-py 7.2, nodes have no hash.
        by_node: dict[str, dict[K, Command]] = defaultdict(dict)
        nodes: dict[str, Any] = {}
        with _as_outages():
            for key, (slot, command) in commands.items():
                node = self.nodes_manager.get_node_from_slot(slot)
                nodes[node.name] = node
                by_node[node.name][key] = command
        return Sent((self.get_redis_connection(nodes[name]), each) for name, each in by_node.items())

    def primaries(self) -> list[Any]:
        """Return a client of each primary, including those whose first slots are still being moved."""
        self.refresh()
        nodes = self.get_primaries()  # type: ignore[no-untyped-call]
        states: Any = self.cluster_nodes()
        for address, state in states.items():
            flags = {*state["flags"].split(",")}
            if "master" in flags and not state["slots"] and not flags & {"fail", "noaddr", "handshake"}:
                nodes.append(self.get_node(node_name=address))
        return [self.get_redis_connection(node) for node in {node.name: node for node in nodes}.values()]


_clusters: dict[str, Cluster] = {}

# A client's locks may be held by threads that do not exist in a forked child.
os.register_at_fork(after_in_child=_clusters.clear)


def _parse(location: str) -> tuple[str, list[str], str]:
    """Return the parts of a cluster's address: scheme and login, HOST:PORT of each node, and query.

    Raises:
        ValueError: it is malformed.
    """
    if found := _LOCATION.fullmatch(location):
        start, query = f"redis{found['tls']}://{found['login'] or ''}", found["query"] or ""
        nodes = [each.strip() for each in found["nodes"].split(",")]
        with suppress(ValueError):  # its text may contain a part of the password
            if all("host" in parse_url(f"{start}{node}{query}") for node in nodes):  # type: ignore[no-untyped-call]
                return start, nodes, query
    raise ValueError("expected redis-cluster://HOST:PORT,HOST:PORT; a Redis Cluster has no database but 0")


@_as_outages()
def _connect(location: str, pool: Mapping[str, Any]) -> Cluster:
    start, (first, *others), query = _parse(location)
    return Cluster(
        url=f"{start}{first}{query}",
        startup_nodes=[node_at(each) for each in others],
        retry=Retry(NoBackoff(), 1),
        require_full_coverage=False,
        **pool,
    )


class ClusterClient(DefaultClient):  # type: ignore[misc]  # django-redis has no types that mypy follows here
    """django-redis' client for a Redis Cluster.

    A `LOCATION` of `redis-cluster://` in `warmer.stores.redis.backend.RedisCache` uses it.
    """

    is_cluster = True

    def __init__(self, server: str, *args: Any) -> None:
        super().__init__([str(server)], *args)  # a list is malformed, too

    def parse(self) -> dict[str, Any]:
        """Return the arguments of a connection, without connecting.

        Raises:
            ValueError: the cluster's address is malformed.
        """
        start, (first, *_), query = _parse(self._server[0])
        found: dict[str, Any] = parse_url(f"{start}{first}{query}")  # type: ignore[no-untyped-call]
        found.update(self._options.get("CONNECTION_POOL_KWARGS", {}))
        return found

    def connect(self, index: int = 0) -> Cluster:
        """Return this process's client of the cluster; the first call connects.

        Raises:
            ConnectionError: none of the nodes answers.
        """
        # Retries of each node would multiply those of the cluster. A blocking pool does not work either: the
        # client closes idle connections when it refreshes its list of nodes, while another thread takes them.
        pool = {k: v for k, v in self._options.get("CONNECTION_POOL_KWARGS", {}).items() if k != "retry"}
        key = repr((self._server[0], pool))
        if key not in _clusters:
            _clusters.setdefault(key, _connect(self._server[0], pool))
        return _clusters[key]

    def get_client(self, write: bool = True, tried: list[int] | None = None) -> Cluster:
        try:
            return self.connect()
        except ConnectionError as error:
            raise ConnectionInterrupted(connection=None) from error

    def get_client_with_index(
        self, write: bool = True, tried: list[int] | None = None
    ) -> tuple[Cluster, int]:
        return self.get_client(), 0

    def set_many(self, *args: Any, **options: Any) -> None:
        try:
            super().set_many(*args, **options)
        except RedisClusterException as error:
            raise ConnectionInterrupted(connection=None) from ConnectionError(describe(error))

    def do_close_clients(self) -> None:
        """Do nothing: other threads use the same client."""
