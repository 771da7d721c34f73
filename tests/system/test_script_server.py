"""What `script/server` runs, for real: the site, its worker, beat and servers."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from embedded.ports import free_port
from embedded.processes import describe_exit
from tests.system.supervised import ROOT, Supervised, clean_environment

pytestmark = pytest.mark.system

UP = "Ctrl-C stops all of it"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def serve(data_dir: Path, port: int) -> Supervised:
    return Supervised(
        [sys.executable, "-m", "embedded.serve"],
        output=data_dir.parent / "output.txt",
        env=clean_environment(WARMER_DATA_DIR=str(data_dir), PORT=str(port)),
    )


def status_of(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def test_serve__site_and_admin_answer__ctrl_c_leaves_nothing(data_dir: Path) -> None:
    port = free_port()
    with serve(data_dir, port) as supervised:
        supervised.wait_for(UP)
        assert status_of(port, "/") == 200
        assert status_of(port, "/admin/login/") == 200

        password = (data_dir / "admin-password").read_text().strip()
        assert f"admin, password {password}" in supervised.text
        servers = json.loads((data_dir / "running.json").read_text())
        assert servers["REDIS_URL"] in supervised.text
        assert servers["CELERY_BROKER_URL"] != servers["REDIS_URL"]

        # A command in another terminal, which knows only the data folder.
        other = subprocess.run(
            [
                sys.executable,
                "-c",
                "from django.conf import settings; print(settings.CACHES['default']['LOCATION'])",
            ],
            cwd=ROOT,
            env=clean_environment(WARMER_DATA_DIR=str(data_dir), DJANGO_SETTINGS_MODULE="config.settings"),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert other.stdout.strip() == servers["REDIS_URL"]

        supervised.send(signal.SIGINT)
        assert supervised.exit_code() == 0, supervised.text
        # Two servers, the reaper, web, beat, the worker and its two children.
        supervised.assert_nothing_is_left(at_least=8)
        assert "Warm shutdown" in supervised.text
        assert not (data_dir / "running.json").exists()


def test_serve__worker_is_killed__says_so_and_ends_all(data_dir: Path) -> None:
    with serve(data_dir, free_port()) as supervised:
        supervised.wait_for(UP)
        supervised.find("celery", "worker").kill()
        assert supervised.exit_code() == 1, supervised.text
        died = f"The process `worker` ended by itself ({describe_exit(-signal.SIGKILL)})"
        assert died in supervised.text
        supervised.assert_nothing_is_left(at_least=8)


def test_serve__database_that_is_not_there__says_so_and_leaves_nothing(data_dir: Path) -> None:
    environment = clean_environment(
        WARMER_DATA_DIR=str(data_dir),
        PORT=str(free_port()),
        DATABASE_URL="postgresql://nobody@127.0.0.1:1/none",
    )
    command = [sys.executable, "-m", "embedded.serve"]
    with Supervised(command, output=data_dir.parent / "output.txt", env=environment) as supervised:
        assert supervised.exit_code() == 1
        assert "Preparing the database: `" in supervised.text
        assert "OperationalError" in supervised.text
        supervised.assert_nothing_is_left(at_least=2)


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("-h", 0), ("start", 2)])
def test_serve__help__names_the_program_that_is_typed(argument: str, status: int) -> None:
    done = run("-m", "embedded.serve", argument)
    assert done.returncode == status
    assert "    script/server\n" in done.stdout
    assert "embedded" not in done.stdout


def test_serve__bad_port__one_clear_line() -> None:
    done = run("-m", "embedded.serve", PORT="web")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        "PORT is 'web': expected a number from 1 to 65535, e.g. PORT=8001 script/server."
    ]


def test_serve__host_of_another_machine__says_so_and_leaves_nothing(data_dir: Path) -> None:
    environment = clean_environment(WARMER_DATA_DIR=str(data_dir), HOST="192.0.2.1", PORT=str(free_port()))
    command = [sys.executable, "-m", "embedded.serve"]
    with Supervised(command, output=data_dir.parent / "output.txt", env=environment) as supervised:
        assert supervised.exit_code() == 1
        assert "HOST is '192.0.2.1': it is no address of this machine" in supervised.text
        assert "Traceback" not in supervised.text
        supervised.assert_nothing_is_left(at_least=0)


@pytest.mark.parametrize(("variable", "address"), [("REDIS_URL", "foo"), ("DATABASE_URL", "oracle://x")])
@pytest.mark.parametrize("command", [("-m", "embedded.serve"), ("manage.py", "check")])
def test_bad_address__one_clear_line(
    data_dir: Path, command: tuple[str, ...], variable: str, address: str
) -> None:
    done = run(*command, WARMER_DATA_DIR=str(data_dir), **{variable: address})
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert f"{variable} is '{address}'" in line
    assert "expected" in line
