"""Calls to a Redis Cluster: redis-py's client, with calls in bulk and the failures of a single server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

from redis.cluster import PRIMARY, ClusterNode, RedisCluster
from redis.crc import key_slot
from redis.exceptions import (
    ClusterDownError,
    ClusterError,
    ConnectionError,
    MaxConnectionsError,
    RedisClusterException,
    ResponseError,
    SlotNotCoveredError,
    TimeoutError,
)

from warmer.report import describe
from warmer.stores.redis.scripts import COMMAND_NAME, Script, packed

SLOTS = range(16_384)

Command = tuple[Any, ...]


@cache
def tags() -> Mapping[int, str]:
    """Return, for each slot, a hash tag that leads there.

    The checksum of a key is linear in its bits: these 14 that vary give each slot once.
    """
    bits = "`abcdefghijklmno"
    texts = map("".join, product("0123", bits, bits, bits))
    return {slot_of(text): text for text in texts}


def slot_of(key: str) -> int:
    """Return the slot that a key belongs to."""
    return int(key_slot(key.encode()))


def node_at(address: str) -> Any:
    """Return the node at an address, HOST:PORT; an IPv6 address stands in brackets."""
    host, _, port = address.strip().rpartition(":")
    node: Callable[[str, int], Any] = ClusterNode
    return node(host.strip("[]"), int(port)) if host else node(port, 6379)


class _Sent:
    """Commands that were sent to a node, whose answers are read one by one."""

    def __init__(self, client: Any, commands: Sequence[Command]) -> None:
        self._pool = client.connection_pool
        self._connection = self._pool.get_connection(*COMMAND_NAME)
        self._unread = len(commands)
        try:
            self._connection.send_packed_command(packed(self._connection, commands))
        except BaseException:
            self.close()
            raise

    def read(self) -> Any:
        """Return the next answer, also if it is an error."""
        try:
            answer = self._connection.read_response()
        except ResponseError as error:
            answer = error
        self._unread -= 1
        return answer

    def close(self) -> None:
        """Return the connection, which nobody may use who would read these answers."""
        if self._unread:
            self._connection.disconnect()
        self._pool.release(self._connection)


class Cluster(RedisCluster):
    """redis-py's client, with calls in bulk, whose failures are those of a single server."""

    # Never again after a time-out, which is long for a reader.
    ERRORS_ALLOW_RETRY: Any = (ConnectionError, ClusterDownError, SlotNotCoveredError)

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().execute_command(*args, **kwargs)  # type: ignore[no-untyped-call]
        except RedisClusterException as error:
            raise ConnectionError(describe(error)) from error

    def get_node(self, host: str | None = None, port: int | None = None, node_name: str | None = None) -> Any:
        """Return a node; make one that a redirection names, and that has no slots yet."""
        node = super().get_node(host, port, node_name)  # type: ignore[no-untyped-call]
        if node is None and node_name:
            node = node_at(node_name)
            node.server_type = PRIMARY
            self.nodes_manager.nodes_cache[node.name] = node
        return node

    def mget(self, keys: Any, *args: Any) -> Any:
        """Return the values of keys of any slots.

        Each is a command: of several keys, those of a slot that is moving cannot be told apart.
        """
        names = [*([keys] if isinstance(keys, str | bytes) else keys), *args]
        return [found for (found,) in self.ask_each([(slot_of(name), ("MGET", name)) for name in names])]

    def keys(self, pattern: Any = "*", **kwargs: Any) -> Any:
        """Return the keys of all nodes that match."""
        return super().keys(pattern, target_nodes=self.PRIMARIES, **kwargs)

    def run_each(
        self,
        script: Script,
        calls: Mapping[int, tuple[Sequence[str], Sequence[Any]]],
        *,
        moving: Callable[[int], Any] | None = None,
    ) -> dict[int, Any]:
        """Run a script for each slot, with its keys and arguments; return the answers.

        Args:
            moving: gives the answer for a slot whose keys are on two nodes, as it is moving for longer than
                redis-py tries; by default that is an error.
        """
        slots = list(calls)

        def again(index: int) -> Any:
            keys, args = calls[slots[index]]
            try:
                return self.execute_command("EVAL", script.text, len(keys), *keys, *args)
            except ClusterDownError:
                raise
            except ClusterError:  # it was redirected too often
                if moving is None:
                    raise
                return moving(slots[index])

        commands = [
            (slot, ("EVALSHA", script.sha, len(keys), *keys, *args)) for slot, (keys, args) in calls.items()
        ]
        return dict(zip(slots, self.ask_each(commands, again=again), strict=True))

    def ask_each(
        self,
        commands: Sequence[tuple[int, Command]],
        *,
        again: Callable[[int], Any] | None = None,
    ) -> list[Any]:
        """Send commands, each to the node of its slot: one round trip a node. Return the answers in order.

        Args:
            again: asks for the answer that was an error, e.g. as the slot is on another node by now; by
                default by `execute_command`, which follows redirections.
        """
        answers: list[Any] = [None] * len(commands)
        lost = self._ask(commands, range(len(commands)), answers)
        if lost and not any(isinstance(error, MaxConnectionsError) for error in lost.values()):
            self.refresh()
            lost = self._ask(commands, list(lost), answers)
        for error in lost.values():
            raise error
        for index, answer in enumerate(answers):
            if isinstance(answer, Exception):
                answers[index] = again(index) if again else self.execute_command(*commands[index][1])
        return answers

    def _ask(
        self, commands: Sequence[tuple[int, Command]], indexes: Iterable[int], answers: list[Any]
    ) -> dict[int, Exception]:
        """Send some commands, and put their answers in place; return why others had no node that answers."""
        lost: dict[int, Exception] = {}
        by_node: dict[Any, list[int]] = defaultdict(list)
        for index in indexes:
            try:
                by_node[self.nodes_manager.get_node_from_slot(commands[index][0])].append(index)
            except SlotNotCoveredError as error:
                lost[index] = ConnectionError(describe(error))
        sent: list[tuple[list[int], _Sent]] = []
        try:
            for node, asked in by_node.items():
                try:
                    client = self.get_redis_connection(node)
                    sent.append((asked, _Sent(client, [commands[index][1] for index in asked])))
                except ConnectionError as error:
                    lost |= dict.fromkeys(asked, error)
            for asked, call in sent:
                try:
                    for index in asked:
                        answers[index] = call.read()
                except ConnectionError as error:
                    lost |= dict.fromkeys(asked, error)
        except TimeoutError:
            self.refresh()  # another node may have taken over
            raise
        finally:
            for _, call in sent:
                call.close()
        return lost

    def refresh(self) -> None:
        """Ask which nodes there are, and who has which slots."""
        try:
            self.nodes_manager.initialize()
        except RedisClusterException as error:
            raise ConnectionError(describe(error)) from error

    def primaries(self) -> list[Any]:
        """Return a client of each primary, also of those whose first slots are still on their way."""
        self.refresh()
        nodes = self.get_primaries()  # type: ignore[no-untyped-call]
        states: Any = self.cluster_nodes()
        for address, state in states.items():
            flags = {*state["flags"].split(",")}
            if "master" in flags and not state["slots"] and not flags & {"fail", "noaddr", "handshake"}:
                nodes.append(self.get_node(node_name=address))
        return [self.get_redis_connection(node) for node in dict.fromkeys(nodes)]
