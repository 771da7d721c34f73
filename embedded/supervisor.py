"""Run a plan: start its servers and services in order, show what they say, end all of them.

The order of things is in `run`. Signals only set a flag, which every wait looks at: so nothing is
ever interrupted between the start of a process and the note that it must be stopped.
"""

from __future__ import annotations

import contextlib
import http.client
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from embedded.banner import banner
from embedded.child import Child
from embedded.console import Console
from embedded.errors import EmbeddedError
from embedded.instance import only_instance
from embedded.plan import Plan, Server, Step
from embedded.ports import LOOPBACK, why_not_here, why_unusable
from embedded.processes import describe_exit
from embedded.redis_server import RedisServer
from embedded.running import FILE_NAME, announce

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WEB_SECONDS = 60


class _StopRequested(Exception):
    """Someone asked us to stop: not an error."""


class Supervisor:
    """Runs one plan, once."""

    def __init__(self, plan: Plan, console: Console | None = None) -> None:
        self._plan = plan
        self._console = console or Console()
        self._environment = dict(plan.environment)
        self._servers: dict[str, RedisServer] = {}
        self._children: list[Child] = []
        self._announced: Path | None = None
        self._stop_requested = threading.Event()
        self._stopping = False
        self._hurry = False

    def run(self) -> int:
        """Start everything, wait for a reason to stop, stop everything; return the exit code."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)
        try:
            with only_instance(self._plan.data_dir, self._plan.address):
                code = self._start_and_stop()
        except EmbeddedError as error:
            self._console.complain(str(error))
            code = 1
        return code

    def _start_and_stop(self) -> int:
        try:
            self._run()
        except _StopRequested:
            return 0
        except EmbeddedError as error:
            self._console.complain(str(error))
            return 1
        finally:
            self._stop()

    def _run(self) -> NoReturn:
        self._check_port()
        for server in self._plan.servers:
            self._start_server(server)
        self._announce()
        for step in self._plan.before:
            self._run_step(step)
        for service in self._plan.services:
            self._check()
            self._children.append(
                Child(
                    name=service.name,
                    command=service.command,
                    env=self._environment,
                    cwd=self._plan.root,
                    console=self._console,
                    asks=service.asks,
                )
            )
        for step in self._plan.after:
            self._run_step(step)
        self._wait_for_web()
        self._console.say(banner(self._plan, self._environment, started=self._servers))
        while True:
            self._pause(0.2)

    # -- start ---------------------------------------------------------------------------------
    def _check_port(self) -> None:
        if (why := why_not_here(self._plan.host)) is not None:
            raise EmbeddedError(
                f"HOST is {self._plan.host!r}: {why}. Expected one of its addresses, e.g. 127.0.0.1, or "
                "0.0.0.0 for all of them."
            )
        why = why_unusable(self._plan.host, self._plan.port)
        if why is not None:
            raise EmbeddedError(
                f"Port {self._plan.port} {why}. Stop what uses it or choose another: "
                f"PORT={self._plan.port + 1 if self._plan.port < 65535 else 8001} script/server"
            )

    def _start_server(self, server: Server) -> None:
        self._check()
        if self._environment.get(server.variable):
            self._console.say(f"The {server.name} server is the one that {server.variable} names.")
            return
        redis = RedisServer(data_dir=self._plan.data_dir / server.folder, options=server.options)
        self._servers[server.name] = redis
        redis.start()
        self._environment[server.variable] = redis.url()
        self._console.say(f"The {server.name} server listens on {LOOPBACK}:{redis.port}.")

    def _announce(self) -> None:
        # An address may hold a password: the file is made for our eyes only before it is written.
        self._announced = self._plan.data_dir / FILE_NAME
        self._announced.unlink(missing_ok=True)
        self._announced.touch(mode=0o600)
        names = [server.variable for server in self._plan.servers]
        announce(self._plan.data_dir, **{name: self._environment[name] for name in names})

    def _run_step(self, step: Step) -> None:
        self._console.say(f"{step.title} ...")
        end = time.monotonic() + step.retry_seconds
        while (failure := self._try_step(step)) is not None:
            if time.monotonic() >= end:
                break
            self._pause(0.1)
        if failure is None:
            return
        if step.required:
            raise EmbeddedError(failure)
        self._console.complain(f"{failure}\nThe server goes on without it.")

    def _try_step(self, step: Step) -> str | None:
        """Run a step once; return what went wrong."""
        child = Child(
            name=step.name,
            command=step.command,
            env=self._environment,
            cwd=self._plan.root,
            console=self._console,
            quiet=step.quiet,
        )
        try:
            while child.exit_code is None:
                self._pause(0.05)
        finally:
            code = child.stop(self._hurried)
        if code == 0:
            return None
        said = _indented(child.last_lines()) if step.quiet else " Its output is above."
        return f"{step.title}: `{' '.join(step.command)}` failed ({describe_exit(code)}).{said}"

    def _wait_for_web(self) -> None:
        self._console.say("Waiting for the site ...")
        end = time.monotonic() + WEB_SECONDS
        while (status := self._web_status()) is None:
            if time.monotonic() >= end:
                raise EmbeddedError(f"{self._plan.address} did not answer within {WEB_SECONDS} s.")
            self._pause(0.1)
        if status >= 500:
            self._console.complain(f"{self._plan.address} answers with an error, status {status}.")

    def _web_status(self) -> int | None:
        host_and_port = self._plan.address.removeprefix("http://").rstrip("/")
        connection = http.client.HTTPConnection(host_and_port, timeout=5)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()  # or the web server reports a broken pipe
            return response.status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    # -- run -----------------------------------------------------------------------------------
    def _pause(self, seconds: float) -> None:
        self._stop_requested.wait(seconds)
        self._check()

    def _check(self) -> None:
        """Raise when someone asked us to stop, or when a process of ours has ended by itself."""
        if self._stop_requested.is_set():
            raise _StopRequested
        for name, server in self._servers.items():
            if server.exit_code is not None:
                raise _died(f"The {name} server", server.exit_code, server.last_lines())
        for child in self._children:
            if child.exit_code is not None:
                raise _died(f"The process `{child.name}`", child.exit_code, child.last_lines())

    # -- stop ----------------------------------------------------------------------------------
    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # A closing terminal may send SIGHUP twice: only a second Ctrl-C is impatience.
        if self._stopping and number == signal.SIGINT:
            self._hurry = True
        self._stop_requested.set()

    def _hurried(self) -> bool:
        return self._hurry

    def _stop(self) -> None:
        """End everything that was started, the last first; a second Ctrl-C makes it quick."""
        self._stopping = True
        if self._servers or self._children:
            self._console.say("Stopping everything (Ctrl-C once more: without waiting) ...")
        # What was pushed last runs first, and all of it runs, whatever goes wrong with one.
        with contextlib.ExitStack() as stack:
            if self._announced is not None:
                stack.callback(self._announced.unlink, missing_ok=True)
            for server in self._servers.values():
                stack.callback(server.stop)
            for child in self._children:
                stack.callback(child.stop, self._hurried)
        if self._servers or self._children:
            self._console.say("Everything is stopped.")


def _died(what: str, code: int, last_lines: list[str]) -> EmbeddedError:
    return EmbeddedError(
        f"{what} ended by itself ({describe_exit(code)}). Its last lines:{_indented(last_lines)}"
    )


def _indented(lines: list[str]) -> str:
    return "".join(f"\n    {line}" for line in lines) or " none."
