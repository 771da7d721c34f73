"""The foreign project as a test sees it: files to write, commands to run, processes to start."""

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from embedded.ports import LOOPBACK, free_port
from tests.support.processes import SECONDS, Running, run, running

Database = dict[str, object]
"""An entry of `DATABASES`."""
NewDatabase = Callable[[], Database]

TEMPLATE = Path(__file__).with_name("mysite")
# For code that is run: what commands print and pages answer.
ASKING = """
from io import StringIO
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.test import Client, override_settings

def output(*command):
    out = StringIO()
    try:
        call_command(*command, stdout=out, stderr=out)
    except CommandError as error:
        out.write(f"exit {error.returncode}: {error}")
    return out.getvalue()

def pages(user, **more):
    client = Client()
    client.force_login(user)
    more |= {"overview": "/admin/warmer/", "runs": "/admin/warmer/warmingrun/"}
    more |= {"ready": "/readyz", "metrics": "/metrics"}
    return {name: client.get(path) for name, path in more.items()}
"""
PROLOGUE = """
import django
django.setup()
result = None
"""
EPILOGUE = """
import json
print()
print(json.dumps(result))
"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a web server answered."""

    status: int
    body: str


@dataclass(frozen=True, kw_only=True)
class Web:
    """A web server of the project."""

    process: Running
    port: int

    def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for a page, as "localhost" unless the headers name another host."""
        request = Request(f"http://{LOOPBACK}:{self.port}{path}", headers={"Host": "localhost", **(headers or {})})
        try:
            with urlopen(request, timeout=SECONDS) as response:
                return Answer(status=response.status, body=response.read().decode())
        except HTTPError as error:
            return Answer(status=error.code, body=error.read().decode())


@dataclass(kw_only=True)
class ForeignProject:
    """A copy of `mysite/`, run by the Python of its own venv; nothing of the test run's settings reaches it."""

    folder: Path  # of its manage.py
    python: Path
    environment: dict[str, str] = field(default_factory=dict)

    def settings(self, text: str) -> None:
        self.add("mysite/settings.py", text)

    def add(self, name: str, text: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as out:
            out.write("\n" + dedent(text))

    def write(self, name: str, text: str) -> None:
        """Write a file in place of the one that is there."""
        (self.folder / name).unlink(missing_ok=True)
        self.add(name, text)

    def manage(self, *arguments: str, status: int = 0) -> str:
        """Run a management command to its end; return what it printed. It must exit with `status`."""
        done = self.execute("manage.py", *arguments)
        said = done.stdout + done.stderr
        assert done.returncode == status, f"manage.py {arguments} ended with {done.returncode}:\n{said}"
        return said

    def run(self, code: str) -> Any:
        """Run code in a new process of the project; return its `result`, which must be JSON."""
        done = self.execute("-c", PROLOGUE + dedent(code) + EPILOGUE)
        assert done.returncode == 0, f"{dedent(code)}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout.splitlines()[-1])

    def sql(self, statement: str) -> Any:
        """Execute a statement on the project's SQLite, as another program does; return its first value."""
        with closing(sqlite3.connect(self.folder / "db.sqlite3", timeout=SECONDS)) as database, database:
            row = database.execute(statement).fetchone()
        return row and row[0]

    def manage_each(self, *lines: str) -> list[str]:
        """Run management commands in one process; return what each prints, and at its end `exit 1: ...` if it fails."""
        said: list[str] = self.run(f"{ASKING}\nresult = [output(*line.split()) for line in {lines!r}]")
        return said

    def check(self, *, doctor: int = 1) -> str:
        """Check that `check` finds nothing, and that the doctor exits so, by default as no worker runs."""
        checked, found = self.manage_each("check", "cache_doctor")
        assert "no issues" in checked
        assert found.count("\nexit 1: ") == doctor, found
        return found

    def examine(self) -> tuple[str, dict[str, Any]]:
        """Return what `check` says, and what the doctor finds, by check; of several findings the last."""
        checked, told = self.manage_each("check", "cache_doctor --json")
        found = json.JSONDecoder().raw_decode(told)[0]["findings"]
        severities = {each["severity"] for each in found}
        assert ("exit 1: " in told) == ("error" in severities), told
        assert "failed" not in severities, found
        return checked, {each["check"]: each for each in found}

    def execute(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(self.python, *arguments, cwd=self.folder, env=self._environment())

    def worker(self, *options: str) -> AbstractContextManager[Running]:
        """Run a Celery worker that has begun to consume."""
        command = "-m celery -A mysite worker -l INFO -Q celery,warming --concurrency 1"
        return self._running(*command.split(), *options, ready=" ready.")

    @contextmanager
    def web(self) -> Iterator[Web]:
        """Run the project under uvicorn, listening on a port of its own."""
        port = free_port()
        command = f"-m uvicorn mysite.asgi:application --host {LOOPBACK} --port {port}"
        with self._running(*command.split(), ready="Uvicorn running") as process:
            yield Web(process=process, port=port)

    def _running(self, *arguments: str, ready: str) -> AbstractContextManager[Running]:
        log = self.folder / f"process-{len(list(self.folder.glob('process-*')))}.log"
        command = (self.python, *arguments)
        return running(*command, log=log, env=self._environment(), cwd=self.folder, ready=ready)

    def _environment(self) -> dict[str, str]:
        own = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
        return {**own, "DJANGO_SETTINGS_MODULE": "mysite.settings", "PYTHONUNBUFFERED": "1", **self.environment}
