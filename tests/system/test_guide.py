"""The guide's "Install", word for word in an empty venv: a worker warms, beat has a schedule."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis import Redis

from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.support.processes import COMMAND_SECONDS, ROOT, Running, run, running

GUIDE = (ROOT / "docs/guide.md").read_text()
ADDRESS = "localhost:6379"
INSTALL_SECONDS = 280  # less than a test may take
TELLS = "python manage.py shell -v 0 -c"
ADD_USER = "from django.contrib.auth.models import User; User.objects.create_user('ada')"
ENTRIES = (
    "from django_celery_beat.models import PeriodicTask as P; "
    "print(*P.objects.filter(enabled=True).values_list('name', flat=True), sep='\\n')"
)


@dataclass
class NewProject:
    """A project that is made by following the guide; what was typed is known by its line."""

    folder: Path
    programs: Path  # the folder of the venv's python, pip and celery
    server: RedisServer
    terminals: ExitStack
    said: dict[str, str] = field(default_factory=dict)
    left: dict[str, Running] = field(default_factory=dict)  # in terminals of their own

    def write(self, code: str) -> None:
        """Write what a block of Python shows into the file that it names; settings come at the end."""
        name = re.findall(r"^# (\S+)\n", code)[0]
        code = code.replace(ADDRESS, f"localhost:{self.server.port}")
        with (self.folder / name).open("a" if name.endswith("settings.py") else "w") as file:
            file.write(f"\n{code}")

    def type(self, line: str, *, check: bool = True, seconds: float = COMMAND_SECONDS) -> str:
        done = run(*shlex.split(line), cwd=self.folder, env=self._environment(), seconds=seconds)
        self.said[line] = done.stdout + done.stderr
        assert done.returncode == 0 or not check, self.said[line]
        return self.said[line]

    def leave(self, line: str) -> None:
        """Run a line in a terminal of its own."""
        log = self.folder / f"{line}.log"
        self.left[line] = self.terminals.enter_context(
            running(*shlex.split(line), log=log, env=self._environment(), cwd=self.folder)
        )

    def _environment(self) -> dict[str, str]:
        # Nothing of the test run's own settings and packages, but for where pip's index is.
        kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name == "HOME"}
        path = f"{self.programs}:{os.environ['PATH']}"
        return {**kept, "PATH": path, "PYTHONUNBUFFERED": "1", "PIP_NO_COMPILE": "1"}


@pytest.fixture
def new_project(tmp_path: Path) -> Iterator[NewProject]:
    _clone(tmp_path / "warmer")
    for command in (["-m", "venv", "venv"], ["-m", "django", "startproject", "mysite"]):
        run(sys.executable, *command, cwd=tmp_path).check_returncode()
    folder, programs = tmp_path / "mysite", tmp_path / "venv" / "bin"
    with RedisServer() as server, ExitStack() as terminals:
        yield NewProject(folder=folder, programs=programs, server=server, terminals=terminals)


def _clone(folder: Path) -> None:
    """Copy what a package is built from: setuptools writes beside it."""
    shutil.copytree(ROOT / "warmer", folder / "warmer", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, folder)


def test_install__a_new_project_warms_on_a_worker_and_has_a_schedule(new_project: NewProject) -> None:
    part = GUIDE.partition("## Install\n")[2].partition("\n## ")[0]
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", part, flags=re.M | re.S):
        if language == "python":
            new_project.write(block)
            continue
        for line in block.splitlines():
            follow(new_project, line)

    said = new_project.said
    assert "no issues" in said["python manage.py check"]
    assert "user_profiles: complete, 1 key" in said["python manage.py warm_cache --workers"]
    with Redis(port=new_project.server.port) as cache:
        assert b"ada" in (cache.get(":1:user:1:profile") or b"")
        assert b"django" not in (cache.get(":1:user:1:profile") or b"")  # as a pickle would have it
    assert "warm user_profiles" in new_project.type(f'{TELLS} "{ENTRIES}"')
    (beat,) = [process for line, process in new_project.left.items() if " beat" in line]
    beat.wait_for("schedulers.DatabaseScheduler")
    assert "ok       workers" in said["python manage.py cache_doctor"]
    assert "ok       pickle" in said["python manage.py cache_doctor"]
    assert "  failed " not in said["python manage.py cache_doctor"]


def follow(project: NewProject, line: str) -> None:
    if line.startswith("pip "):
        project.type(line, seconds=INSTALL_SECONDS)
        return
    if line.startswith("celery "):
        project.leave(line)
        if "worker" in line:
            ping = "celery -A mysite inspect ping"
            wait_until(lambda: "pong" in project.type(ping, check=False), what="the worker answers")
        return
    # The doctor may find more, as that cache and broker are one server here.
    project.type(line, check="cache_doctor" not in line)
    if line.endswith("migrate"):
        project.type(f'{TELLS} "{ADD_USER}"')
