"""What `script/server` runs, for real: the site, its worker, beat and servers."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from embedded.ports import free_port
from tests.support.processes import run
from tests.system.supervised import Supervised, clean_environment


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def serve(data_dir: Path, port: int, **environment: str) -> Supervised:
    return Supervised(
        [sys.executable, "-m", "embedded.serve"],
        output=data_dir.parent / "output.txt",
        env=clean_environment(WARMER_DATA_DIR=str(data_dir), PORT=str(port), **environment),
    )


def run_clean(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, *command, env=clean_environment(**environment))


def test_serve__site_and_admin_answer__a_killed_worker_is_replaced__ctrl_c_leaves_nothing(data_dir: Path) -> None:
    port = free_port()
    with serve(data_dir, port) as supervised:
        supervised.wait_for("Press Ctrl-C to stop everything")
        for page in ("", "admin/login/"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=30) as response:
                assert response.status == 200

        password = (data_dir / "admin-password").read_text().strip()
        assert f"admin, password {password}" in supervised.text
        servers = json.loads((data_dir / "running.json").read_text())
        assert servers["REDIS_URL"] in supervised.text
        assert servers["CELERY_BROKER_URL"] != servers["REDIS_URL"]

        # A command in another terminal, which knows only the data folder.
        code = "from django.conf import settings; print(settings.CACHES['default']['LOCATION'])"
        other = run_clean("-c", code, WARMER_DATA_DIR=str(data_dir), DJANGO_SETTINGS_MODULE="config.settings")
        assert other.stdout.strip() == servers["REDIS_URL"]

        ready = supervised.text.count("worker@localhost ready.")
        supervised.find("config worker").kill()
        supervised.wait_for("The process `worker` has restarted.")
        supervised.wait_until(
            lambda: supervised.text.count("worker@localhost ready.") > ready, "the worker is ready again"
        )
        supervised.send(signal.SIGINT)
        # Two servers, web, beat, the worker, each with its guard, and the worker's two children.
        said = supervised.ends(0, at_least=12)
        assert "Warm shutdown" in said
        assert not (data_dir / "running.json").exists()


def test_serve__database_that_is_not_there__says_so_and_leaves_nothing(data_dir: Path) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    with serve(data_dir, free_port(), DATABASE_URL=nowhere) as supervised:
        said = supervised.ends(1, at_least=2)
        assert "Preparing the database: `" in said
        assert "OperationalError" in said


@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("start", 2)])
def test_serve__help__names_the_program_that_is_typed(argument: str, status: int) -> None:
    done = run_clean("-m", "embedded.serve", argument)
    assert done.returncode == status
    assert "    script/server\n" in done.stdout
    assert "embedded" not in done.stdout


SERVE, CHECK = ("-m", "embedded.serve"), ("manage.py", "check")


@pytest.mark.parametrize(
    ("command", "variable", "value", "told"),
    [
        (SERVE, "PORT", "web", "PORT is 'web': expected"),
        (SERVE, "HOST", "192.0.2.1", "HOST=192.0.2.1"),
        (SERVE, "CELERY_BROKER_URL", "redis-sentinel://x", "CELERY_BROKER_URL is 'redis-sentinel://x': expected"),
        (SERVE, "WARMER_DATA_DIR", "/dev/null/data", "WARMER_DATA_DIR: /dev/null/data cannot be created: Not a dir"),
        (CHECK, "REDIS_URL", "foo", "REDIS_URL is '***': expected"),
        (CHECK, "DATABASE_URL", "oracle://x", "DATABASE_URL is 'oracle://x'"),
    ],
)
def test_bad_value__one_clear_line(
    data_dir: Path, command: tuple[str, ...], variable: str, value: str, told: str
) -> None:
    done = run_clean(*command, **{"WARMER_DATA_DIR": str(data_dir), variable: value})
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert told in line
