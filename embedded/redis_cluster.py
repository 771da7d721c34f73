"""Run a Redis Cluster for the tests and the benchmarks."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from itertools import pairwise
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError

from embedded.ports import LOOPBACK, free_port
from embedded.redis_server import RedisServer
from embedded.waiting import wait_until

SLOTS = 16_384
OPTIONS = {
    "cluster-enabled": "yes",
    # Milliseconds without an answer after which a node has failed, and its replica takes over.
    "cluster-node-timeout": "1000",
    "repl-diskless-sync-delay": "0",
}


class RedisCluster:
    """Primaries on the loopback address that share the slots evenly, optionally with replicas.

    Attributes:
        nodes: their servers: first the primaries, then the replicas in the same order.
    """

    def __init__(self, *, primaries: int = 3, replicas: int = 0) -> None:
        self._primaries = primaries
        self.nodes = [_node() for _ in range(primaries * (1 + replicas))]

    @property
    def url(self) -> str:
        """Return the address for `LOCATION`, which names the first two nodes."""
        return "redis-cluster://" + ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes[:2])

    def __enter__(self) -> Self:
        """Start the nodes, and wait until they serve all slots."""
        with ExitStack() as stack:
            stack.callback(self.__exit__)
            for node in self.nodes:
                node.start()
            self._form()
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.stop()

    def ask(self, node: int, *command: Any) -> Any:
        """Send a command to a node, and return its answer as text."""
        with Redis(port=self.nodes[node].port, socket_timeout=30, decode_responses=True) as client:
            return client.execute_command(*command)

    def add(self) -> int:
        """Start another primary, without slots; return its number."""
        self.nodes.append(_node().start())
        number = len(self.nodes) - 1
        self._meet(number)
        _wait(self._all_know, "the new node is known")
        _wait(self._serves, "the new node knows who serves the slots")
        return number

    def owner(self, slot: int) -> int:
        """Return the number of the node that serves a slot."""
        known = self.ask(0, "CLUSTER NODES")
        for number, node in enumerate(self.nodes):
            served = known[f"{LOOPBACK}:{node.port}"]["slots"]
            if any(int(ends[0]) <= slot <= int(ends[-1]) for ends in served):
                return number
        raise LookupError(f"No node serves slot {slot}.")

    def begin_move(self, slot: int, to: int) -> None:
        """Begin to move a slot: from now on, requests for missing keys are redirected to the other node."""
        at = self.owner(slot)
        self.ask(to, "CLUSTER SETSLOT", slot, "IMPORTING", self._id(at))
        self.ask(at, "CLUSTER SETSLOT", slot, "MIGRATING", self._id(to))

    def move_keys(self, slot: int, to: int, *, count: int = 100) -> int:
        """Move some of the keys of a slot that is moving; return how many."""
        at = self.owner(slot)
        keys: Sequence[str] = self.ask(at, "CLUSTER GETKEYSINSLOT", slot, count)
        if keys:
            self.ask(at, "MIGRATE", LOOPBACK, self.nodes[to].port, "", 0, 30_000, "KEYS", *keys)
        return len(keys)

    def end_move(self, slot: int, to: int) -> None:
        """Move the rest of a slot, and assign it to its new node, unless it already is."""
        at = self.owner(slot)
        if at == to:
            return
        while self.move_keys(slot, to):
            pass
        for node in dict.fromkeys((to, at, *range(len(self.nodes)))):
            if "master" in self.ask(node, "ROLE"):
                self.ask(node, "CLUSTER SETSLOT", slot, "NODE", self._id(to))

    def _form(self) -> None:
        cuts = [SLOTS * number // self._primaries for number in range(self._primaries + 1)]
        for number, (first, end) in enumerate(pairwise(cuts)):
            self.ask(number, "CLUSTER ADDSLOTSRANGE", first, end - 1)
            self.ask(number, "CLUSTER SET-CONFIG-EPOCH", number + 1)
        for number in range(1, len(self.nodes)):
            self._meet(number)
        _wait(self._all_know, "the nodes know each other")
        for number in range(self._primaries, len(self.nodes)):
            self.ask(number, "CLUSTER REPLICATE", self._id(number % self._primaries))
        _wait(self._serves, "the cluster serves all slots")

    def _meet(self, number: int) -> None:
        first = self.nodes[0]
        self.ask(number, "CLUSTER MEET", LOOPBACK, first.port, first.options["cluster-port"])

    def _serves(self) -> bool:
        """Return whether all nodes agree that all slots are served, and every replica is connected."""
        return all(state["cluster_state"] == "ok" for state in self._ask_all("CLUSTER INFO")) and all(
            node["role"] == "master" or node["master_link_status"] == "up"
            for node in self._ask_all("INFO", "replication")
        )

    def _all_know(self) -> bool:
        """Return whether each node knows all nodes."""
        return all(
            len(known) == len(self.nodes) and not any("handshake" in each["flags"] for each in known.values())
            for known in self._ask_all("CLUSTER NODES")
        )

    def _ask_all(self, *command: str) -> list[Any]:
        return [self.ask(number, *command) for number in range(len(self.nodes))]

    def _id(self, node: int) -> str:
        return str(self.ask(node, "CLUSTER MYID"))


def _node() -> RedisServer:
    return RedisServer(options={**OPTIONS, "cluster-port": str(free_port())})


def _wait(condition: Callable[[], bool], what: str) -> None:
    def holds() -> bool:
        with suppress(RedisError):
            return condition()
        return False

    wait_until(holds, what=what)
