"""Run a plan: start its servers and services in order, show their output, and stop all of them.

`_serve` shows the order. Signals only set a flag, which every wait checks, so nothing is ever interrupted
between starting a process and recording that it must be stopped.

Once everything is up, a killed server or service is restarted, so that you can try an outage. If one fails,
everything stops.
"""

import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from config.running_servers import FILE_NAME, LOCK_NAME
from embedded.child import ROOT, Child, Command, say
from embedded.ports import LOOPBACK, port_problem
from embedded.processes import EmbeddedError, describe_exit
from embedded.redis_server import RedisServer
from embedded.waiting import SECONDS

USUAL_DATA_DIR = ROOT / ".data"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Long enough to see the effects of an outage in the logs and the admin.
OUTAGE_SECONDS = 5
RULE = "-" * 78
PASSWORD_FILE = "admin-password"  # noqa: S105 - a file name


@dataclass(frozen=True, kw_only=True)
class Server:
    """A Redis to start, unless the variable that names it is set already."""

    name: str
    variable: str
    options: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that the supervisor needs to know. It stops services from the last to the first."""

    data_dir: Path
    host: str
    port: int
    environment: Mapping[str, str]
    servers: tuple[Server, ...] = ()
    before: tuple[Command, ...] = ()
    services: tuple[Command, ...] = ()
    after: tuple[Command, ...] = ()

    @property
    def address(self) -> str:
        """Return the site's URL."""
        host = LOOPBACK if self.host == "0.0.0.0" else self.host  # noqa: S104
        return f"http://{host}:{self.port}/"


class _StopRequested(Exception):
    """A stop was requested, which is not an error."""


class Supervisor:
    """Runs one plan, once."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._environment = dict(plan.environment)
        # By their titles, in the order of their start.
        self._running: dict[str, RedisServer | Child] = {}
        self._is_up = False
        self._stop_requested = threading.Event()

    def run(self) -> int:
        """Start everything, wait for a reason to stop, stop everything; return the exit code."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)
        try:
            with only_instance(self._plan.data_dir, self._plan.address):
                try:
                    self._serve()
                finally:
                    self._stop()
        except _StopRequested:
            return 0
        except EmbeddedError as error:
            say(str(error), sys.stderr)
            return 1

    def _serve(self) -> NoReturn:
        port = self._plan.port
        if problem := port_problem(self._plan.host, port):
            raise EmbeddedError(
                f"Port {port} {problem}. Stop what uses it or choose another: "
                f"PORT={port + 1 if port < 65535 else 8001} script/server"
            )
        for server in self._plan.servers:
            self._start_server(server)
        self._announce()
        for step in self._plan.before:
            self._run_step(step)
        self._start_services()
        for step in self._plan.after:
            self._run_step(step)
        say(_banner(self._plan, self._environment))
        self._is_up = True
        while True:
            self._pause(0.2)

    # -- start ---------------------------------------------------------------------------------
    def _start_server(self, server: Server) -> None:
        self._pause(0)
        if self._environment.get(server.variable):
            say(f"Using the {server.name} server of {server.variable}.")
            return
        redis = RedisServer(folder=self._plan.data_dir / server.name, options=server.options)
        self._running[f"The {server.name} server"] = redis
        redis.start()
        self._environment[server.variable] = redis.url()
        say(f"The {server.name} server listens on {LOOPBACK}:{redis.port}.")

    def _announce(self) -> None:
        """Record the servers' addresses for `manage.py` in other terminals, until `only_instance` ends."""
        path = self._plan.data_dir / FILE_NAME
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)  # an address may contain a password
        variables = [server.variable for server in self._plan.servers]
        path.write_text(json.dumps({name: self._environment[name] for name in variables}))

    def _run_step(self, step: Command) -> None:
        say(f"{step.title} ...")
        child = Child(step, self._environment)
        try:
            while child.exit_code is None:
                self._pause(0.05)
        finally:
            code = child.stop()
        if code == 0:
            return
        command = " ".join(step.words)
        failure = f"{step.title}: `{command}` failed ({describe_exit(code)}). Its output is above."
        if step.required:
            raise EmbeddedError(failure)
        say(f"{failure}\nThe site keeps running.", sys.stderr)

    def _start_services(self) -> None:
        services = []
        for service in self._plan.services:
            services.append(Child(service, self._environment))
            self._running[f"The process `{service.name}`"] = services[-1]
        say("Waiting for the services ...")
        end = time.monotonic() + SECONDS
        while waiting := [each.command.name for each in services if not each.is_ready]:
            if time.monotonic() >= end:
                raise EmbeddedError(f"Not ready after {SECONDS} s: {', '.join(waiting)}.")
            self._pause(0.1)

    # -- run -----------------------------------------------------------------------------------
    def _pause(self, seconds: float) -> None:
        """Wait; raise if a stop was requested, or a process has failed."""
        if self._stop_requested.wait(seconds):
            raise _StopRequested
        for title, process in self._running.items():
            if process.exit_code is not None:
                self._ended_by_itself(title, process, process.exit_code)

    def _ended_by_itself(self, title: str, process: RedisServer | Child, code: int) -> None:
        end = f"{title} stopped unexpectedly ({describe_exit(code)})."
        # It was killed, or told to stop: a user is trying an outage.
        if code > 0 or not self._is_up:
            raise EmbeddedError(f"{end} Its last lines:{_indented(process.last_lines())}")
        say(f"{end} It restarts in {OUTAGE_SECONDS} seconds.", sys.stderr)
        if self._stop_requested.wait(OUTAGE_SECONDS):
            raise _StopRequested
        process.restart()
        say(f"{title} has restarted.")

    # -- stop ----------------------------------------------------------------------------------
    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # A second Ctrl-C ends this process at once; the guards end the others.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._stop_requested.set()

    def _stop(self) -> None:
        """Stop everything that was started, in reverse order."""
        if not self._running:
            return
        # Callbacks run in reverse order, and all of them run even if one fails, or the terminal is gone.
        with contextlib.ExitStack() as stack:
            for process in self._running.values():
                stack.callback(process.stop)
            say("Stopping everything (press Ctrl-C again to stop without waiting) ...")
        say("Everything is stopped.")


@contextlib.contextmanager
def only_instance(data_dir: Path, address: str) -> Iterator[None]:
    """Lock the data folder.

    The system releases the lock when this process exits for any reason, so a leftover file does no harm.
    After a SIGKILL it is held until the guards have ended our servers, because two servers must not write the
    same files.

    Raises:
        EmbeddedError: another one holds the folder, or it cannot be written.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = (data_dir / LOCK_NAME).open("a+")
    except OSError as error:
        raise EmbeddedError(f"{error}. Choose a folder that can be written with WARMER_DATA_DIR.") from None
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise EmbeddedError(
                f"script/server already runs on {data_dir} ({lock.read()}). Stop it with Ctrl-C in its "
                "terminal, or give this one a folder and a port of its own: "
                "WARMER_DATA_DIR=.data/second PORT=8001 script/server"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, {address}")
        lock.flush()
        os.set_inheritable(lock.fileno(), True)
        try:
            yield
        finally:
            (data_dir / FILE_NAME).unlink(missing_ok=True)
            fcntl.flock(lock, fcntl.LOCK_UN)


def _banner(plan: Plan, environment: Mapping[str, str]) -> str:
    """Return the addresses, the login, and how to stop everything."""
    rows = {"Site": plan.address, "Admin": f"{plan.address}admin/", "Log in as": _login(plan, environment)}
    for server in plan.servers:
        # The user's address may contain a password.
        given = plan.environment.get(server.variable)
        rows[f"{server.name.capitalize()} server"] = (
            f"as in {server.variable}" if given else environment[server.variable]
        )
    # In another terminal, `manage.py` looks in the default folder.
    where = "" if plan.data_dir == USUAL_DATA_DIR else f"WARMER_DATA_DIR={plan.data_dir} "
    return "\n".join(
        [
            RULE,
            *(f"  {name + ':':<16}{text}" for name, text in rows.items()),
            "",
            "  While this runs, `manage.py` in other terminals uses the same servers, e.g.",
            f"  {where}.venv/bin/python manage.py warm_cache",
            "",
            "  Press Ctrl-C to stop everything.",
            RULE,
        ]
    )


def _login(plan: Plan, environment: Mapping[str, str]) -> str:
    username = environment.get("ADMIN_USERNAME") or "admin"
    file = plan.data_dir / PASSWORD_FILE
    if environment.get("ADMIN_PASSWORD"):
        return f"{username}, with the password in ADMIN_PASSWORD"
    if file.exists():
        return f"{username}, password {file.read_text().strip()} (kept in {os.path.relpath(file)})"
    return f"{username}, with the password you gave that account"


def _indented(lines: list[str]) -> str:
    return "".join(f"\n    {line}" for line in lines) or " none."
