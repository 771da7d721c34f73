"""The supervisor on small plans of our own: whatever happens, it says so and leaves nothing behind."""

import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from config.running_servers import running_servers
from embedded.ports import free_port
from tests.system.supervised import Supervised, clean_environment

# The plan's parts are put in by the tests, as source: it runs in a process of its own.
PROGRAM = """
import os, sys
from pathlib import Path
from signal import SIGTERM
from embedded import supervisor
from embedded.child import Command
from embedded.processes import Ask
from embedded.supervisor import Plan, Server

supervisor.OUTAGE_SECONDS = 0.1
python, port, folder = sys.executable, {port}, {folder!r}

def command(name, code, **more):
    return Command(name=name, words=(python, "-u", "-c", code), **more)

plan = Plan(
    data_dir=Path(folder),
    host="127.0.0.1",
    port=port,
    environment=os.environ,
    servers=(
        Server(name="cache", variable="REDIS_URL", options={{"appendonly": "yes"}}),
        Server(name="broker", variable="CELERY_BROKER_URL", options={{}}),
    ),
    before=({before}),
    services=({services} Command(
        name="web",
        words=(python, "-u", "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", folder),
    ),),
    after=({after}),
)
sys.exit(supervisor.Supervisor(plan).run())
"""
UP = "Press Ctrl-C to stop everything"
# Two servers and the web, each with its guard.
ALWAYS = 6
# Like a prefork worker: a parent and a child, and neither minds SIGTERM.
STUBBORN = (
    "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "child = os.fork(); os.write(1, b'forked\\n' if child else b'child\\n'); time.sleep(600)"
)


class Plans:
    """Starts supervisors, each with its own output file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.port = free_port()

    def command(self, **parts: str) -> list[str]:
        parts = dict.fromkeys(("before", "services", "after"), "") | parts
        return [sys.executable, "-c", PROGRAM.format(port=self.port, folder=str(self.data_dir), **parts)]

    def start(self, *, env: Mapping[str, str] | None = None, **parts: str) -> Supervised:
        output = self.folder / f"output-{len(list(self.folder.glob('output-*')))}.txt"
        return Supervised(self.command(**parts), output=output, env=clean_environment(**env or {}))


@pytest.fixture
def plans(tmp_path: Path) -> Plans:
    return Plans(tmp_path)


def test_up__what_is_killed_starts_again__a_second_instance_is_refused__sigterm_ends_all(plans: Plans) -> None:
    failing_warm = "command('warm', 'print(\"no cache\"); exit(1)', title='First warm', required=False),"
    note = plans.data_dir / "running.json"
    with plans.start(after=failing_warm) as supervised:
        supervised.wait_for(UP)
        assert "warm   | no cache" in supervised.text
        assert "The site keeps running." in supervised.text
        assert note.stat().st_mode & 0o077 == 0
        before = running_servers(plans.data_dir)
        assert set(before) == {"REDIS_URL", "CELERY_BROKER_URL"}

        with plans.start() as second:
            said = second.ends(1)
            assert f"already runs on {plans.data_dir} (process {supervised.process.pid}" in said
            assert "WARMER_DATA_DIR=" in said

        supervised.find(f":{before['REDIS_URL'].rpartition(':')[2].partition('/')[0]}").kill()
        supervised.wait_for("The cache server stopped unexpectedly (signal SIGKILL). It restarts in")
        supervised.wait_for("The cache server has restarted.")
        supervised.find("http.server").kill()
        supervised.wait_for("The process `web` has restarted.")
        assert supervised.find("http.server")
        assert running_servers(plans.data_dir) == before

        supervised.send(signal.SIGTERM)
        assert "Everything is stopped." in supervised.ends(0, at_least=ALWAYS + 4)
        assert not note.exists()


def test_signal__while_it_starts__ends_everything_and_exits_0(plans: Plans) -> None:
    step = "command('long', 'import time; print(\"at it\"); time.sleep(600)', title='A long step'),"
    with plans.start(before=step) as supervised:
        supervised.wait_for("long   | at it")
        supervised.send(signal.SIGINT)
        supervised.ends(0, at_least=ALWAYS)


@pytest.mark.parametrize(("seconds", "signals", "code"), [(0.5, 1, 0), (3600, 2, -signal.SIGINT)])
def test_stubborn_service__is_killed_with_its_children__after_its_bound_or_a_second_ctrl_c(
    plans: Plans, seconds: float, signals: int, code: int
) -> None:
    service = f"command('worker', {STUBBORN!r}, ready='forked', asks=(Ask(signal=SIGTERM, seconds={seconds}),)),"
    with plans.start(services=service) as supervised:
        supervised.wait_for(UP)
        supervised.wait_for("| child")
        supervised.send(signal.SIGINT)
        if signals == 2:
            supervised.wait_for("Stopping everything")
            supervised.send(signal.SIGINT)
        supervised.ends(code, at_least=ALWAYS + 3)


def test_service_that_fails__is_named_with_its_last_lines__exit_1(plans: Plans) -> None:
    trigger = plans.folder / "fail"
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(trigger)!r}).exists(): time.sleep(0.05)"
    code = f"{wait}\nprint('cannot go on')\nexit(3)"
    with plans.start(services=f"command('worker', {code!r}),") as supervised:
        supervised.wait_for(UP)
        trigger.touch()
        said = supervised.ends(1, at_least=ALWAYS + 2)
        assert "The process `worker` stopped unexpectedly (exit code 3). Its last lines:\n    cannot go on" in said


@pytest.mark.parametrize(
    ("plan", "at_least", "told"),
    [
        (
            {"services": "command('worker', 'import os; print(\"last\"); os.kill(os.getpid(), 9)', ready='never'),"},
            ALWAYS,
            ["The process `worker` stopped unexpectedly (signal SIGKILL)", "\n    last\n"],
        ),
        (
            {"before": "command('migrate', 'print(\"no such table\"); exit(2)', title='Preparing the database'),"},
            4,
            ["migrate| no such table\n", "failed (exit code 2). Its output is above."],
        ),
    ],
    ids=["a_service_is_killed", "a_step_fails"],
)
def test_start__that_fails_shows_its_last_lines__exit_1(
    plans: Plans, plan: dict[str, str], at_least: int, told: list[str]
) -> None:
    with plans.start(**plan) as supervised:
        said = supervised.ends(1, at_least=at_least)
        assert [text in said for text in (*told, UP)] == [True, True, False]


def test_taken_port__one_clear_line__nothing_is_started(plans: Plans) -> None:
    with socket.create_server(("127.0.0.1", plans.port)), plans.start() as supervised:
        assert supervised.ends(1) == (
            f"Port {plans.port} is taken. Stop what uses it or choose another: PORT={plans.port + 1} script/server\n"
        )


def test_output__that_nobody_reads_on__ends_everything(plans: Plans) -> None:
    piped = ["bash", "-o", "pipefail", "-c", '"$@" | head -n 1', "bash", *plans.command()]
    with Supervised(piped, output=plans.folder / "output.txt", env=clean_environment()) as supervised:
        said = supervised.ends(0, at_least=2)
    assert said.startswith("The cache server listens on ")
    assert "Error" not in said


def test_server_and_password_of_the_environment__are_used_and_not_shown(plans: Plans) -> None:
    url = "redis://:s3cret@example.invalid:6379/0"
    env = {"REDIS_URL": url, "ADMIN_USERNAME": "eve", "ADMIN_PASSWORD": "s3cret"}
    with plans.start(env=env) as supervised:
        supervised.wait_for(UP)
        assert "Using the cache server of REDIS_URL." in supervised.text
        assert "eve, with the password in ADMIN_PASSWORD" in supervised.text
        assert "s3cret" not in supervised.text
        assert not (plans.data_dir / "cache").exists()
        assert running_servers(plans.data_dir)["REDIS_URL"] == url
        supervised.send(signal.SIGHUP)
        supervised.ends(0)
