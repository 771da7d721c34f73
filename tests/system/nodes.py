"""What runs in containers: the project's own worker and beat, and the broker between them."""

import gc
import warnings
from typing import Any

import docker
import pytest
from docker.errors import DockerException
from pytest_celery import CeleryTestContainer, CeleryTestWorker, RedisContainer
from pytest_docker_tools.exceptions import ContainerFailed, ContainerNotReady

from embedded.waiting import wait_until
from tests.support.processes import SECONDS
from tests.system.host_runtime import HostClient

NO_ENGINE = (
    "CELERY_TEST_RUNTIME=docker, but no Docker engine answers: {error}. Start one (or set DOCKER_HOST "
    "to where it is), or run the same tests on host processes with CELERY_TEST_RUNTIME=process."
)


def connect(runtime: str) -> docker.DockerClient | HostClient:
    """Return what starts containers.

    Args:
        runtime: `docker`: an engine, and a failure without one, never a skip. `process`: process
            groups of this machine, even where an engine is. `auto`: an engine if one answers, else
            process groups.
    """
    if runtime not in ("auto", "docker", "process"):
        pytest.fail(f"CELERY_TEST_RUNTIME is {runtime!r}: expected auto, docker or process.", pytrace=False)
    if runtime == "process":
        return HostClient()
    engine = _engine()
    if not isinstance(engine, str):
        return engine
    if runtime == "docker":
        pytest.fail(NO_ENGINE.format(error=engine), pytrace=False)
    return HostClient()


def _engine() -> docker.DockerClient | str:
    """Return a client of the engine that answers, or why none does."""
    with warnings.catch_warnings():
        # docker-py leaves its socket open when nobody answers; collected here, nobody hears of it.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = docker.from_env()
            client.ping()
        except DockerException as error:
            problem = str(error)
        else:
            return client
        gc.collect()
    return problem


class BrokerContainer(RedisContainer):
    """A Redis that keeps its messages over a restart, even where it was killed."""

    @classmethod
    def command(cls, *args: str, **options: Any) -> list[str]:
        # Of an option that is given twice the last counts.
        return [*super().command(*args, **options), "--appendonly", "yes", "--appendfsync", "always"]


class CommandContainer(CeleryTestContainer):
    """A container whose log says when it is ready, at each of its starts."""

    _log_of_earlier_starts = 0

    def ready(self) -> bool:
        """Wait until it is ready; pytest-docker-tools would look only once a second."""
        try:
            wait_until(self._is_ready, what=f"{self.name} logs {self.ready_prompt!r}")
        except TimeoutError as error:
            raise ContainerNotReady(self, str(error)) from None  # with its log in the test's report
        return True

    def restart(self, timeout: int = 10) -> None:
        self._log_of_earlier_starts = len(self.logs())
        super().restart(timeout)

    def await_end(self) -> int:
        """Wait until the first process has ended; return its exit code."""
        return int(self._container.wait(timeout=SECONDS)["StatusCode"])

    def _is_ready(self) -> bool:
        # Not the inherited way: it waits for an address, and on the host's network there is none.
        self.reload()
        if self.status == "exited":
            raise ContainerFailed(self, f"{self.name} ended before it was ready")
        return str(self.ready_prompt) in self.logs()[self._log_of_earlier_starts :]


class WorkerContainer(CommandContainer):
    """`celery -A config worker`, which consumes every queue of the project."""

    ready_prompt = "ready."

    @classmethod
    def command(cls, *args: str, **options: Any) -> list[str]:
        return ["celery", "-A", "config", "worker", "--loglevel", "INFO", "--concurrency", "2", *args]


class BeatContainer(CommandContainer):
    """`celery -A config beat`, with the scheduler that the project's settings name."""

    ready_prompt = "beat: Starting..."

    @classmethod
    def command(cls, *args: str, **options: Any) -> list[str]:
        return ["celery", "-A", "config", "beat", "--loglevel", "INFO", *args]


class Worker(CeleryTestWorker):
    """A worker node under the name that its command gives it."""

    def hostname(self) -> str:
        command: list[str] = self.container.attrs["Config"]["Cmd"]
        return command[command.index("-n") + 1]

    def await_log(self, text: str) -> None:
        """Wait until the log contains a string; pytest-celery's own wait looks only once a second."""
        wait_until(lambda: text in self.logs(), what=f"{self.name()} logs {text!r}")
