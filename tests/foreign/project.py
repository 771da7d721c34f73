"""The foreign project as a test sees it: files to write, commands to run, processes to start."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from embedded.ports import LOOPBACK, free_port
from embedded.processes import ProcessGroup
from embedded.waiting import wait_until

TEMPLATE = Path(__file__).with_name("mysite")
# A bound for what takes a second or two, on a machine that is busy with other things.
SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a web server answered."""

    status: int
    body: str


@dataclass(kw_only=True)
class Process:
    """A process of the project that runs on: a worker, beat, or a web server.

    Attributes:
        port: where a web server listens; 0 for the others.
    """

    group: ProcessGroup
    log: Path
    port: int = 0

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def get(self, path: str, *, headers: Mapping[str, str] | None = None, seconds: float = SECONDS) -> Answer:
        """Ask a web server for a page, as "localhost" unless the headers name another host."""
        request = Request(f"http://{LOOPBACK}:{self.port}{path}", headers={"Host": "localhost", **(headers or {})})
        try:
            with urlopen(request, timeout=seconds) as response:
                return Answer(status=response.status, body=response.read().decode())
        except HTTPError as error:
            return Answer(status=error.code, body=error.read().decode())


@dataclass(kw_only=True)
class ForeignProject:
    """A copy of `mysite/`, run by the Python of its own venv; nothing of the test run's settings reaches it.

    Attributes:
        folder: where its manage.py is.
        environment: environment variables that its processes get.
    """

    folder: Path
    python: Path
    environment: dict[str, str] = field(default_factory=dict)

    def settings(self, text: str) -> None:
        """Add lines at the end of the settings."""
        self.add("mysite/settings.py", text)

    def add(self, name: str, text: str) -> None:
        """Add lines at the end of a file, which is made if it is not there."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as out:
            out.write("\n" + dedent(text))

    def write(self, name: str, text: str) -> None:
        """Write a file in place of the one that is there."""
        (self.folder / name).unlink(missing_ok=True)
        self.add(name, text)

    def manage(self, *arguments: str, status: int = 0, seconds: float = SECONDS) -> str:
        """Run a management command to its end; return what it printed. It must exit with `status`."""
        done = self.execute("manage.py", *arguments, seconds=seconds)
        said = done.stdout + done.stderr
        assert done.returncode == status, f"manage.py {arguments} ended with {done.returncode}:\n{said}"
        return said

    def run(self, code: str, *, seconds: float = SECONDS) -> Any:
        """Run code in a new process of the project; return its `result`, which must be JSON."""
        before, after = (
            "import django\ndjango.setup()\nresult = None",
            "import json\nprint()\nprint(json.dumps(result))",
        )
        whole = f"{before}\n{dedent(code)}\n{after}"
        done = self.execute("-c", whole, seconds=seconds)
        assert done.returncode == 0, f"{dedent(code)}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout.splitlines()[-1])

    def execute(self, *arguments: str, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
        """Run the project's Python to its end."""
        return subprocess.run(
            [self.python, *arguments],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    @contextmanager
    def worker(self, *options: str, queues: str = "celery,warming") -> Iterator[Process]:
        """Run a Celery worker that has begun to consume."""
        options = ("-Q", queues, "--concurrency", "1", *options)
        with self.start("-m", "celery", "-A", "mysite", "worker", "-l", "INFO", *options) as worker:
            self.wait_for_output(worker, " ready.")
            yield worker

    @contextmanager
    def beat(self, *options: str) -> Iterator[Process]:
        """Run beat, which has begun."""
        with self.start("-m", "celery", "-A", "mysite", "beat", "-l", "INFO", *options) as beat:
            self.wait_for_output(beat, "beat: Starting...")
            yield beat

    @contextmanager
    def web(self, *options: str) -> Iterator[Process]:
        """Run the project under uvicorn, listening on a port of its own."""
        port = free_port()
        command = ("-m", "uvicorn", "mysite.asgi:application", "--host", LOOPBACK, "--port", str(port))
        with self.start(*command, *options) as server:
            server.port = port
            self.wait_for_output(server, "Uvicorn running")
            yield server

    @contextmanager
    def start(self, *arguments: str) -> Iterator[Process]:
        """Start the project's Python with arguments and leave it running until the block ends."""
        log = self.folder / f"process-{len(list(self.folder.glob('process-*')))}.log"
        with log.open("wb") as output:
            command = [self.python, *arguments]
            group = ProcessGroup(command, output=output, env=self._environment(), cwd=self.folder)
        try:
            yield Process(group=group, log=log)
        finally:
            group.end()

    def wait_for_output(self, process: Process, text: str) -> None:
        """Wait until a process printed a text; fail with what it printed instead."""

        def printed() -> bool:
            assert process.group.poll() is None, f"It ended:\n{process.output()}"
            return text in process.output()

        try:
            wait_until(printed, seconds=SECONDS, what=f"it prints {text!r}")
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{process.output()}") from None

    def _environment(self) -> dict[str, str]:
        own = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
        return {**own, "DJANGO_SETTINGS_MODULE": "mysite.settings", "PYTHONUNBUFFERED": "1", **self.environment}
