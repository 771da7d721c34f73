"""What `script/server` would run, for a given environment, and what it says when it runs."""

from __future__ import annotations

import fcntl
import io
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from embedded.banner import banner
from embedded.console import Console
from embedded.errors import EmbeddedError
from embedded.instance import LOCK_NAME, only_instance
from embedded.plan import ROOT, project_plan
from embedded.waiting import wait_until


def test_plan__defaults() -> None:
    plan = project_plan({})
    assert plan.address == "http://127.0.0.1:8000/"
    assert plan.data_dir == ROOT / ".data"
    assert [service.name for service in plan.services] == ["worker", "beat", "web"]
    policies = {server.name: server.options["maxmemory-policy"] for server in plan.servers}
    assert policies == {"cache": "allkeys-lru", "broker": "noeviction"}


def test_plan__host_port_and_folder_of_the_environment(tmp_path: Path) -> None:
    plan = project_plan({"HOST": "0.0.0.0", "PORT": "9001", "WARMER_DATA_DIR": str(tmp_path)})
    assert plan.address == "http://127.0.0.1:9001/"
    assert "0.0.0.0:9001" in plan.services[-1].command
    assert plan.environment["WARMER_DATA_DIR"] == str(tmp_path)


def test_plan__ipv6_host() -> None:
    plan = project_plan({"HOST": "::1"})
    assert plan.address == "http://[::1]:8000/"
    assert "[::1]:8000" in plan.services[-1].command


@pytest.mark.parametrize("port", ["web", "0", "65536", "-1"])
def test_plan__bad_port__says_what_is_expected(port: str) -> None:
    with pytest.raises(EmbeddedError, match=f"PORT is '{port}': expected a number from 1 to 65535"):
        project_plan({"PORT": port})


@pytest.mark.parametrize(
    ("variable", "address"),
    [
        ("REDIS_URL", "foo"),
        ("DATABASE_URL", "oracle://x"),
        ("DATABASE_URL", "foo"),
        ("CELERY_BROKER_URL", "redis-sentinel://x"),
    ],
)
def test_plan__bad_address__says_what_is_expected(variable: str, address: str) -> None:
    with pytest.raises(EmbeddedError, match=f"^{variable} is '{address}'.*: expected [^\n]*$"):
        project_plan({variable: address})


def test_banner__has_addresses_login_and_how_to_stop(tmp_path: Path) -> None:
    (tmp_path / "admin-password").write_text("s3cret\n")
    plan = project_plan({"WARMER_DATA_DIR": str(tmp_path), "PORT": "8001"})
    text = banner(plan, plan.environment, started={})
    assert "http://127.0.0.1:8001/admin/" in text
    assert "admin, password s3cret" in text
    assert "Ctrl-C stops all of it" in text


def test_banner__shows_no_password_of_the_environment(tmp_path: Path) -> None:
    environment = {
        "WARMER_DATA_DIR": str(tmp_path),
        "ADMIN_USERNAME": "eve",
        "ADMIN_PASSWORD": "s3cret",
        "REDIS_URL": "redis://:s3cret@cache:6379/0",
    }
    plan = project_plan(environment)
    text = banner(plan, plan.environment, started={})
    assert "s3cret" not in text
    assert "eve, with the password in ADMIN_PASSWORD" in text
    assert "as in REDIS_URL" in text


HOLD = """
import sys
from pathlib import Path
from embedded.instance import only_instance
with only_instance(Path(sys.argv[1]), "http://here/"):
    print("held", flush=True)
    input()
"""


def test_only_instance__second_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with (
            pytest.raises(EmbeddedError, match=rf"already runs on .*process {first.pid}, http://here/"),
            only_instance(tmp_path, "http://there/"),
        ):
            pass
        assert first.stdin is not None
        first.stdin.write("\n")
        first.stdin.flush()
        assert first.wait(30) == 0
    done = subprocess.run(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, input="\n", text=True, check=True
    )
    assert done.returncode == 0


HOLD_AND_DIE = """
import os, signal, subprocess, sys
from pathlib import Path
from embedded.instance import only_instance
from embedded.processes import spawn
slow = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('ready', flush=True); time.sleep(600)"
)
with only_instance(Path(sys.argv[1]), "http://here/"):
    server = spawn([sys.executable, "-c", slow], output=subprocess.PIPE)
    server.stdout.readline()
    print(server.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_only_instance__holder_was_killed__waits_for_what_it_started(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOLD_AND_DIE, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    server = int(done.stdout)

    def is_free() -> bool:
        with (tmp_path / LOCK_NAME).open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    wait_until(is_free, seconds=60, what="the folder is free")
    assert not psutil.pid_exists(server) or psutil.Process(server).status() == psutil.STATUS_ZOMBIE


def test_console__without_a_terminal__plain_prefixes() -> None:
    stream = io.StringIO()
    console = Console(stream, stream)
    console.line("web", "hello")
    console.line("worker", "")
    console.complain("oh")
    assert stream.getvalue() == "web    | hello\nworker |\noh\n"


def test_console__on_a_terminal__a_colour_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    console = Console(stream, stream)
    console.line("web", "a")
    console.line("beat", "b")
    first, second = stream.getvalue().splitlines()
    assert first.startswith("\x1b[36mweb")
    assert second.startswith("\x1b[33mbeat")


def test_console__terminal_is_gone__goes_on() -> None:
    stream = io.StringIO()
    stream.close()
    console = Console(io.StringIO(), stream)
    console.complain("nobody hears this")
