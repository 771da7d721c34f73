"""Keys on a Redis Cluster, and its client: a fence for each hash slot, next to the keys that it guards.

A script can only use keys of one slot, and is atomic only there. So the name of a fence begins with a hash
tag that maps to the slot, a token holds the state of each fence involved in a load, and a call runs one
script per slot, in one round trip to each node.
"""

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, cast

from django_redis.client import DefaultClient
from django_redis.exceptions import ConnectionInterrupted
from redis.backoff import NoBackoff
from redis.cluster import PRIMARY, ClusterNode, RedisCluster
from redis.connection import parse_url
from redis.exceptions import (
    ClusterCrossSlotError,
    ClusterDownError,
    ClusterError,
    ConnectionError,
    MaxConnectionsError,
    RedisClusterException,
    SlotNotCoveredError,
    TimeoutError,
)
from redis.retry import Retry

from warmer.report import describe
from warmer.stores.base import Token
from warmer.stores.redis import scripts
from warmer.stores.redis.codec import found
from warmer.stores.redis.connections import SLOTS, slot_of, tags
from warmer.stores.redis.scripts import Call, Command, Script, Sent
from warmer.stores.redis.store import RedisStore

_LOCATION = re.compile(
    r"redis(?P<tls>s?)-cluster://(?P<login>.*@)?(?P<nodes>[^/?@]+)(?:/0?)?(?P<query>\?.*)?"
)


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
    """redis-py's client with bulk calls, and the errors of a single server's client.

    A command with several keys would fail as a whole while a slot is moving, and redis-py's own pipeline
    raises errors that are no RedisError.
    """

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
            host, _, number = node_name.rpartition(":")
            node = ClusterNode(host.strip("[]"), int(number), PRIMARY)  # type: ignore[no-untyped-call]
            self.nodes_manager.nodes_cache[node.name] = node
        return node

    def each(self, command: str, names: Iterable[Any]) -> list[Any]:
        """Send a command for each name, in one round trip to each node; return the answers."""
        commands = {index: (command, name) for index, name in enumerate(names)}
        answers = self.ask_each(commands)
        for index, answer in answers.items():
            if isinstance(answer, Exception):
                answers[index] = self.execute_command(*commands[index])  # which follows redirections
        return [answers[index] for index in commands]

    def mget(self, keys: Any, *args: Any) -> Any:
        names = [*([keys] if isinstance(keys, str | bytes) else keys), *args]
        return [found for (found,) in self.each("MGET", names)]

    def delete(self, *names: Any) -> int:
        return sum(self.each("DEL", names))

    def exists(self, *names: Any) -> int:
        return sum(self.each("EXISTS", names))

    def keys(self, pattern: Any = "*", **kwargs: Any) -> Any:
        """Return the keys of all nodes that match."""
        return super().keys(pattern, target_nodes=self.PRIMARIES, **kwargs)

    def ask_each(self, commands: Mapping[int, Command]) -> dict[int, Any]:
        """Send commands, each to the node of its slot: one round trip a node. They may be sent twice.

        Returns:
            The answers, some of which may be errors, e.g. because a slot has moved.
        """
        try:
            return self.send(commands).read()
        except MaxConnectionsError:
            raise
        except (ConnectionError, TimeoutError) as error:
            self.refresh()  # another node may have taken over
            if isinstance(error, TimeoutError):
                raise
            return self.send(commands).read()

    def send(self, commands: Mapping[int, Command]) -> Sent:
        """Send commands, each to the node of its slot: calls of scripts, and commands with a key."""
        by_node: dict[str, tuple[Any, dict[int, Command]]] = {}
        with _as_outages():
            for index, command in commands.items():
                slot = self.keyslot(command[3] if command[0] == "EVALSHA" else command[1])  # type: ignore[no-untyped-call]
                node = self.nodes_manager.get_node_from_slot(slot)
                # By name: before redis-py 7.2, nodes have no hash.
                by_node.setdefault(node.name, (node, {}))[1][index] = command
        return Sent((self.get_redis_connection(node), each) for node, each in by_node.values())

    def primaries(self) -> list[Any]:
        """Return a client of each primary, including those whose first slots are still being moved."""
        self.refresh()
        names = dict.fromkeys(node.name for node in self.get_primaries())  # type: ignore[no-untyped-call]
        states: Any = self.cluster_nodes()
        for address, state in states.items():
            flags = {*state["flags"].split(",")}
            if "master" in flags and not state["slots"] and not flags & {"fail", "noaddr", "handshake"}:
                names[address] = None
        return [self.get_redis_connection(self.get_node(node_name=name)) for name in names]


_clusters: dict[str, Cluster] = {}

# A client's locks may be held by threads that do not exist in a forked child.
os.register_at_fork(after_in_child=_clusters.clear)


def _parse(location: str) -> tuple[str, list[ClusterNode]]:
    """Return the URL of the first node in a cluster's address, and the other nodes.

    Raises:
        ValueError: it is malformed.
    """
    if found := _LOCATION.fullmatch(location):
        start, query = f"redis{found['tls']}://{found['login'] or ''}", found["query"] or ""
        urls = [f"{start}{each.strip()}{query}" for each in found["nodes"].split(",")]
        with suppress(ValueError):  # its text may contain a part of the password
            first, *others = [parse_url(url) for url in urls]  # type: ignore[no-untyped-call]
            if all("host" in each for each in (first, *others)):
                return urls[0], [ClusterNode(each["host"], each.get("port", 6379)) for each in others]  # type: ignore[no-untyped-call]
    raise ValueError("expected redis-cluster://HOST:PORT,HOST:PORT; a Redis Cluster has no database but 0")


class ClusterClient(DefaultClient):  # type: ignore[misc]  # django-redis has no types that mypy follows here
    """django-redis' client for a Redis Cluster. A process shares one set of connections.

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
        url, _ = _parse(self._server[0])
        return {**parse_url(url), **self._options.get("CONNECTION_POOL_KWARGS", {})}  # type: ignore[no-untyped-call]

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
            url, others = _parse(self._server[0])
            known: dict[str, Any] = {"url": url, "startup_nodes": others, "retry": Retry(NoBackoff(), 1)}
            with _as_outages():
                cluster = Cluster(**known, require_full_coverage=False, **pool)
            _clusters.setdefault(key, cluster)
        return _clusters[key]

    def get_client(self, write: bool = True, tried: list[int] | None = None) -> Cluster:
        try:
            return self.connect()
        except ConnectionError as error:
            raise ConnectionInterrupted(connection=None) from error

    def get_client_with_index(self, *args: Any, **options: Any) -> tuple[Cluster, int]:
        return self.get_client(), 0

    def set_many(self, *args: Any, **options: Any) -> None:
        try:
            super().set_many(*args, **options)
        except RedisClusterException as error:
            raise ConnectionInterrupted(connection=None) from ConnectionError(describe(error))

    def do_close_clients(self) -> None:
        """Do nothing: other threads use the same client."""


class ClusterStore(RedisStore):
    """One job's keys on a Redis Cluster. The full guarantees hold here."""

    slots = SLOTS

    def fence_of(self, slot: int) -> str:
        return f"{{{tags()[slot]}}}{self.fence_key}"

    def _by_slot(self, keys: Collection[str]) -> Mapping[int, list[str]]:
        slots = defaultdict(list)
        for key, name in zip(keys, self._names.made(keys), strict=True):
            slots[slot_of(name)].append(key)
        return slots

    def _token(self, answers: Mapping[int, Any]) -> Token:
        slots = {n: scripts.token_of(self.fence_of(n), each) for n, each in answers.items()}
        return Token(generation="-", slots=slots)  # no fence has this generation

    def _run(self, script: Script, calls: Mapping[int, Call]) -> dict[int, Any]:
        with self._server() as cluster:
            answers = cluster.ask_each({slot: script.command(call) for slot, call in calls.items()})
            failed = [slot for slot, answer in answers.items() if isinstance(answer, Exception)]
            return {**answers, **{slot: _again(cluster, script, calls[slot]) for slot in failed}}

    def _send(self, commands: Mapping[int, Command]) -> Sent:
        return cast(Cluster, self._codec.connect()).send(commands)

    def _add_whole(self, calls: Mapping[int, Call]) -> None:
        self.forget()  # for every slot: a search by node could miss a fence that is moving

    def _each(self, command: str, names: Iterable[str]) -> list[Any]:
        with self._server() as cluster:
            return cast(list[Any], cluster.each(command, names))

    def sweep(self) -> None:
        with self._server() as cluster:
            for _ in range(2):  # one pass finds a key that moved during the other
                for node in cluster.primaries():
                    for names in found(node, self._names.patterns()):
                        cluster.each("UNLINK", names)


def _again(cluster: Cluster, script: Script, call: Call) -> Any:
    """Repeat a call of a script, and return its answer."""
    try:
        return cluster.execute_command("EVAL", script.text, len(call.keys), *call.keys, *call.args)
    except ClusterDownError:
        raise
    except ClusterError:
        # Redirected too often: the keys of the slot are on two nodes, for longer than redis-py retries.
        if script is scripts.WRITE:
            return b"e" * len(call.names), b"its slot is moving to another node"
        if script is scripts.FRESH:
            return b"n" * len(call.names)
        if script is not scripts.INVALIDATE:
            raise
        # They can be deleted one by one, the fence before its keys, so that every token is void.
        for key in call.keys:
            cluster.execute_command("DEL", key)
        return []
