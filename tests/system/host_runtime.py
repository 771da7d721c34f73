"""Run pytest-celery's "containers" as process groups of this machine, where no Docker engine is.

pytest-celery reaches Docker only through pytest-docker-tools, and that only through the session
fixture `docker_client`. `HostClient` offers the part of docker-py's client which they call. A
"container" is one process group with its own log, port and environment: a kill ends the whole group,
as it ends a container, and what a test asserts about workers and brokers is the same in both.

It says nothing about an image's content, the names in a container network, or resource limits.
"""

import os
import shlex
import shutil
import signal as signals
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from docker.errors import APIError, NotFound

from embedded.ports import LOOPBACK, free_port
from embedded.processes import Ask, ProcessGroup
from embedded.redis_server import find_redis_server
from embedded.waiting import wait_until
from tests.support.processes import run

REDIS_PORT = "6379/tcp"
# What a process needs of ours; everything else comes from its container's environment.
INHERITED = ("HOME", "LANG", "PATH", "TZ")


class HostContainer:
    """The part of `docker.models.containers.Container` that pytest-docker-tools uses."""

    def __init__(
        self,
        root: Path,
        *,
        image: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        ports: Mapping[str, int | None] | None = None,
        working_dir: str | None = None,
        labels: Mapping[str, str] | None = None,
        name: str | None = None,
        **on_docker: object,  # without effect: these processes are on the host
    ) -> None:
        self.id = uuid.uuid4().hex * 2
        self.name = name or f"host-{self.id[:8]}"
        self.labels = dict(labels or {})
        self._folder = root / self.id[:12]
        self._folder.mkdir()
        self._cwd = Path(working_dir) if working_dir else self._folder
        self._log = self._folder / "log"
        self._log.touch()
        self._ports = {inside: port or free_port() for inside, port in (ports or {}).items()}
        self._environment = {key: str(value) for key, value in (environment or {}).items()}
        self._command = list(command)
        self._process: ProcessGroup | None = None
        published = {inside: [{"HostIp": LOOPBACK, "HostPort": str(p)}] for inside, p in self._ports.items()}
        self.attrs: dict[str, Any] = {
            "Config": {
                "Hostname": self.id[:12],
                "Labels": self.labels,
                "Image": image,
                "Env": [f"{key}={value}" for key, value in self._environment.items()],
                "Cmd": self._command,
            },
            "HostConfig": {"PortBindings": dict(ports or {})},
            "NetworkSettings": {"Networks": {}, "Ports": published},
            "State": {"Status": "created"},
        }

    # -- as docker-py's Container --------------------------------------------------------------
    @property
    def status(self) -> str:
        """Return the state as of the last `reload`, like docker-py."""
        return self.attrs["State"]["Status"]

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = ProcessGroup(
                self._on_host(self._command), output=log, env=self._process_environment(), cwd=self._cwd
            )
        # pytest-docker-tools looks once a second; most servers listen after some milliseconds.
        wait_until(self._listens_or_ended, what=f"{self._command[0]} listens")
        self.reload()

    def reload(self) -> None:
        code = self._process.poll() if self._process else None
        if code is not None:
            self._end()  # a container's other processes do not outlive its first
        running = self._process is not None and code is None
        self.attrs["State"] = {
            "Status": "running" if running else "exited",
            "ExitCode": code,
            "Pid": self._process.pid if self._process else 0,
        }

    def kill(self, signal: str | int | None = None) -> None:
        if self._process is None or self._process.poll() is not None:
            raise APIError(f"The container {self.name} is not running.")
        number = signals.Signals[signal] if isinstance(signal, str) else signal or signals.SIGKILL
        if number == signals.SIGKILL:
            self._end()
        else:
            self._process.send_signal(number)

    def stop(self, timeout: float = 10) -> None:
        self._end(Ask(signal=signals.SIGTERM, seconds=timeout))

    def restart(self, timeout: float = 10) -> None:
        self.stop(timeout)
        self.start()

    def remove(self, force: bool = False) -> None:
        self._end()

    def wait(self, timeout: float | None = None) -> dict[str, int]:
        assert self._process is not None, "the container was never started"
        return {"StatusCode": self._process.wait(timeout)}

    def logs(self) -> bytes:
        return self._log.read_bytes()

    def exec_run(self, cmd: str | Sequence[str]) -> tuple[int, bytes]:
        command = shlex.split(cmd) if isinstance(cmd, str) else list(cmd)
        if command[:2] == ["cat", "/proc/net/tcp"]:  # how pytest-docker-tools asks for open ports
            open_ports = [inside for inside, port in self._ports.items() if _listens(port)]
            return 0, "\n".join(f"0: 0:{int(p.split('/')[0]):04X} 0:0 0A" for p in open_ports).encode()
        output: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "capture_output": False}
        done = run(*self._on_host(command), env=self._process_environment(), cwd=self._cwd, **output)
        return done.returncode, done.stdout.encode()

    # -- own -----------------------------------------------------------------------------------
    def _on_host(self, command: Sequence[str]) -> list[str]:
        """Return a container's command as it is run here."""
        program, *arguments = command
        match program:
            case "python":
                return [sys.executable, *arguments]
            case "celery":
                return [sys.executable, "-m", "celery", *arguments]
            case "redis-server":
                server = find_redis_server()
                where = ["--port", str(self._ports[REDIS_PORT]), "--bind", LOOPBACK]
                return [str(server), *arguments, *where, "--dir", str(self._folder)]
        return list(command)

    def _process_environment(self) -> dict[str, str]:
        ours = {key: os.environ[key] for key in INHERITED if key in os.environ}
        # A killed worker leaves its pymp-* folders behind: here they are removed with the rest.
        return {**ours, "TMPDIR": str(self._folder), **self._environment}

    def _listens_or_ended(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None or all(map(_listens, self._ports.values()))

    def _end(self, *asks: Ask) -> None:
        if self._process is not None:
            self._process.end(asks)


class HostClient:
    """The part of `docker.DockerClient` that the fixture factories of pytest-docker-tools use."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="celery-host-"))
        self._containers: list[HostContainer] = []
        self.containers = SimpleNamespace(run=self._run, get=self._get, list=lambda **_: self._containers)
        self.networks = SimpleNamespace(create=_network)
        self.images = SimpleNamespace(
            get=lambda name: SimpleNamespace(id=name, tags=[name]),
            build=lambda *, tag, **_: (SimpleNamespace(id=tag, tags=[tag]), []),
        )

    def _run(self, *, detach: bool, **options: Any) -> HostContainer:
        assert detach, "only containers that run in the background"
        container = HostContainer(self.root, **options)
        self._containers.append(container)
        container.start()
        return container

    def _get(self, name: str) -> HostContainer:
        for container in self._containers:
            if name in (container.name, container.id):
                return container
        raise NotFound(f"There is no container {name!r}.")

    def close(self) -> None:
        for container in self._containers:
            container.remove(force=True)
        shutil.rmtree(self.root, ignore_errors=True)


def _network(name: str, **options: Any) -> SimpleNamespace:
    return SimpleNamespace(name=name, attrs={"Labels": options.get("labels")}, remove=lambda: None)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0
