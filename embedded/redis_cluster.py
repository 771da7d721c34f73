"""Run a Redis Cluster for the tests and the benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError

from embedded.ports import LOOPBACK, free_port
from embedded.redis_server import RedisServer
from embedded.waiting import wait_until

SLOTS = 16_384
START_SECONDS = 60
# A node that does not answer for this long counts as failed, and its replica takes over.
NODE_TIMEOUT_MS = 1_000


class RedisCluster:
    """Primaries on the loopback address that share the slots evenly, optionally with replicas.

    Attributes:
        nodes: their servers: first the primaries, then the replicas in the same order.
    """

    def __init__(self, *, primaries: int = 3, replicas: int = 0) -> None:
        self._primaries = primaries
        self.nodes = [self._node() for _ in range(primaries * (1 + replicas))]

    @staticmethod
    def _node() -> RedisServer:
        bus = str(free_port())
        return RedisServer(
            options={
                "cluster-enabled": "yes",
                "cluster-port": bus,
                "cluster-node-timeout": str(NODE_TIMEOUT_MS),
                "repl-diskless-sync-delay": "0",
            }
        )

    @property
    def url(self) -> str:
        """Return the address for `LOCATION`, which names the first two nodes."""
        return "redis-cluster://" + ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes[:2])

    def start(self) -> Self:
        """Start the nodes, and wait until they serve all slots."""
        try:
            for node in self.nodes:
                node.start()
            self._form()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the nodes."""
        for node in self.nodes:
            node.stop()

    def ask(self, node: int, *command: Any) -> Any:
        """Send a command to a node; return its answer, in text."""
        with Redis(port=self.nodes[node].port, socket_timeout=5, decode_responses=True) as client:
            return client.execute_command(*command)

    def add(self) -> int:
        """Start another primary, without slots; return its number."""
        self.nodes.append(self._node().start())
        number = len(self.nodes) - 1
        self._meet(number)
        self._wait(lambda: self._all_know(len(self.nodes)), "the new node is known")
        self._wait(self._serves, "the new node knows who serves the slots")
        return number

    def owner(self, slot: int) -> int:
        """Return the number of the node that serves a slot."""
        port = next(
            port for first, last, (_, port, *_), *_ in self._slots() if int(first) <= slot <= int(last)
        )
        return next(number for number, node in enumerate(self.nodes) if node.port == int(port))

    def begin_move(self, slot: int, to: int) -> None:
        """Begin to move a slot: requests for missing keys are redirected to the other node."""
        at = self.owner(slot)
        self.ask(to, "CLUSTER SETSLOT", slot, "IMPORTING", self._id(at))
        self.ask(at, "CLUSTER SETSLOT", slot, "MIGRATING", self._id(to))

    def move_keys(self, slot: int, to: int, *, count: int = 100) -> int:
        """Move some of the keys of a slot that is moving; return how many."""
        at = self.owner(slot)
        keys: Sequence[str] = self.ask(at, "CLUSTER GETKEYSINSLOT", slot, count)
        if keys:
            self.ask(at, "MIGRATE", LOOPBACK, self.nodes[to].port, "", 0, 5_000, "KEYS", *keys)
        return len(keys)

    def end_move(self, slot: int, to: int) -> None:
        """Move the rest of a slot, and assign it to its new node if it is not yet."""
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
        self._wait(lambda: self._all_know(len(self.nodes)), "the nodes know each other")
        for number in range(self._primaries, len(self.nodes)):
            self.ask(number, "CLUSTER REPLICATE", self._id(number % self._primaries))
        self._wait(self._serves, "the cluster serves all slots")

    def _meet(self, number: int) -> None:
        first = self.nodes[0]
        self.ask(number, "CLUSTER MEET", LOOPBACK, first.port, first.options["cluster-port"])

    def _serves(self) -> bool:
        infos = [self.ask(number, "CLUSTER INFO") for number in range(len(self.nodes))]
        replicas = [self.ask(number, "INFO", "replication") for number in range(len(self.nodes))]
        return all(info["cluster_state"] == "ok" for info in infos) and all(
            info["role"] == "master" or info["master_link_status"] == "up" for info in replicas
        )

    def _all_know(self, count: int) -> bool:
        told = [self.ask(number, "CLUSTER NODES") for number in range(len(self.nodes))]
        return all(
            len(nodes) == count and not any("handshake" in each["flags"] for each in nodes.values())
            for nodes in told
        )

    def _slots(self) -> Any:
        with Redis(port=self.nodes[0].port, socket_timeout=5) as client:
            pipeline = client.pipeline(transaction=False)  # which does not decode the answer
            return pipeline.execute_command("CLUSTER SLOTS").execute()[0]

    def _id(self, node: int) -> str:
        return str(self.ask(node, "CLUSTER MYID"))

    @staticmethod
    def _wait(condition: Any, what: str) -> None:
        def holds() -> bool:
            try:
                return bool(condition())
            except RedisError:
                return False

        wait_until(holds, seconds=START_SECONDS, what=what)
