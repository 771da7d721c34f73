"""The supervisor on small plans of our own: whatever happens, it says so and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from embedded.ports import free_port
from embedded.running import running_servers
from embedded.waiting import wait_until
from tests.system.supervised import ROOT, Supervised, clean_environment

pytestmark = pytest.mark.system

# The plan's parts are put in by the tests, as source: it runs in a process of its own.
PROGRAM = """
import os, sys
from pathlib import Path
from signal import SIGTERM
from embedded.plan import Plan, Server, Service, Step
from embedded.processes import Ask
from embedded.supervisor import Supervisor

port = {port}
python = sys.executable
plan = Plan(
    data_dir=Path({data_dir!r}),
    host="127.0.0.1",
    port=port,
    environment=os.environ,
    servers=(
        Server(name="cache", variable="REDIS_URL", folder="redis", options={{"appendonly": "yes"}}),
        Server(name="broker", variable="CELERY_BROKER_URL", folder="broker", options={{}}),
    ),
    before=({before}),
    services=({services} Service(
        name="web",
        command=(python, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", {data_dir!r}),
    ),),
    after=({after}),
)
sys.exit(Supervisor(plan).run())
"""
UP = "Ctrl-C stops all of it"

# Like a prefork worker: a parent and a child, and neither minds SIGTERM.
STUBBORN = (
    "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "child = os.fork(); os.write(1, b'forked\\n' if child else b'child\\n'); time.sleep(600)"
)
MORTAL = "import pathlib, sys, time\nprint('my last words', flush=True)\n"


class Plans:
    """Starts supervisors, each with its own output file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.port = free_port()
        self.started = 0

    def start(
        self, *, before: str = "", services: str = "", after: str = "", **environment: str
    ) -> Supervised:
        code = PROGRAM.format(
            port=self.port,
            data_dir=str(self.data_dir),
            before=before,
            services=services,
            after=after,
        )
        self.started += 1
        return Supervised(
            [sys.executable, "-c", code],
            output=self.folder / f"output-{self.started}.txt",
            env=clean_environment(**environment),
        )


@pytest.fixture
def plans(tmp_path: Path) -> Plans:
    return Plans(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal__ends_everything_and_exits_0(plans: Plans, number: signal.Signals) -> None:
    with plans.start() as supervised:
        supervised.wait_for(UP)
        assert set(running_servers(plans.data_dir)) == {"REDIS_URL", "CELERY_BROKER_URL"}
        assert (plans.data_dir / "running.json").stat().st_mode & 0o077 == 0
        supervised.send(number)
        assert supervised.exit_code() == 0, supervised.text
        supervised.assert_nothing_is_left(at_least=4)
        assert "Everything is stopped." in supervised.text
        assert not (plans.data_dir / "running.json").exists()


def test_signal__while_it_starts__ends_everything_and_exits_0(plans: Plans) -> None:
    step = (
        "Step(name='long', title='A long step', command=(python, '-c', "
        "'import time; print(\"at it\", flush=True); time.sleep(600)')),"
    )
    with plans.start(before=step) as supervised:
        supervised.wait_for("long   | at it")
        supervised.send(signal.SIGINT)
        assert supervised.exit_code() == 0, supervised.text
        supervised.assert_nothing_is_left(at_least=4)


def test_stubborn_service__is_killed_with_its_children_after_its_bound(plans: Plans) -> None:
    service = (
        f"Service(name='worker', command=(python, '-c', {STUBBORN!r}), "
        "asks=(Ask(signal=SIGTERM, seconds=0.5),)),"
    )
    with plans.start(services=service) as supervised:
        supervised.wait_for(UP)
        supervised.wait_until(lambda: {"forked", "child"} <= set(supervised.text.split()), "both run")
        supervised.send(signal.SIGINT)
        assert supervised.exit_code() == 0, supervised.text
        supervised.assert_nothing_is_left(at_least=6)


def test_second_ctrl_c__does_not_wait_and_leaves_nothing(plans: Plans) -> None:
    service = (
        f"Service(name='worker', command=(python, '-c', {STUBBORN!r}), "
        "asks=(Ask(signal=SIGTERM, seconds=3600),)),"
    )
    with plans.start(services=service) as supervised:
        supervised.wait_for(UP)
        supervised.wait_until(lambda: {"forked", "child"} <= set(supervised.text.split()), "both run")
        supervised.send(signal.SIGINT)
        supervised.wait_for("Stopping everything")
        supervised.send(signal.SIGINT)
        assert supervised.exit_code() == 0, supervised.text
        supervised.assert_nothing_is_left(at_least=6)


def test_service_that_dies__is_named_with_its_last_lines__exit_1(plans: Plans) -> None:
    trigger = plans.folder / "die"
    code = MORTAL + (
        f"while not pathlib.Path({str(trigger)!r}).exists(): time.sleep(0.05)\n"
        "print('cannot go on', flush=True)\nsys.exit(3)"
    )
    with plans.start(services=f"Service(name='worker', command=(python, '-c', {code!r})),") as supervised:
        supervised.wait_for(UP)
        trigger.touch()
        assert supervised.exit_code() == 1, supervised.text
        assert "The process `worker` ended by itself (exit code 3). Its last lines:" in supervised.text
        assert "\n    cannot go on\n" in supervised.text
        supervised.assert_nothing_is_left(at_least=5)


def test_server_that_dies__is_named__exit_1(plans: Plans) -> None:
    with plans.start() as supervised:
        supervised.wait_for(UP)
        port = running_servers(plans.data_dir)["REDIS_URL"].rpartition(":")[2].partition("/")[0]
        supervised.wait_until(lambda: f"127.0.0.1:{port}" in supervised.text, "the port is shown")
        [server] = [
            process for process in supervised.left() if any(port in word for word in process.cmdline())
        ]
        server.kill()
        assert supervised.exit_code() == 1, supervised.text
        assert "The cache server ended by itself (signal SIGKILL)" in supervised.text
        supervised.assert_nothing_is_left(at_least=4)


def test_step_that_fails__shows_its_words__exit_1(plans: Plans) -> None:
    step = (
        "Step(name='migrate', title='Preparing the database', quiet=True, "
        "command=(python, '-c', 'print(\"no such table\"); raise SystemExit(2)')),"
    )
    with plans.start(before=step) as supervised:
        assert supervised.exit_code() == 1, supervised.text
        assert "Preparing the database: `" in supervised.text
        assert "failed (exit code 2).\n    no such table\n" in supervised.text
        assert UP not in supervised.text
        assert not (plans.data_dir / "running.json").exists()
        supervised.assert_nothing_is_left(at_least=2)


def test_first_warm_that_fails__the_site_goes_on(plans: Plans) -> None:
    step = (
        "Step(name='warm', title='First warm', required=False, "
        "command=(python, '-c', 'print(\"no cache\"); raise SystemExit(1)')),"
    )
    with plans.start(after=step) as supervised:
        supervised.wait_for(UP)
        assert "warm   | no cache" in supervised.text
        assert "The server goes on without it." in supervised.text
        supervised.send(signal.SIGINT)
        assert supervised.exit_code() == 0, supervised.text


def test_step_with_patience__is_tried_again(plans: Plans) -> None:
    marker = plans.folder / "tried"
    code = (
        f"import pathlib, sys; path = pathlib.Path({str(marker)!r}); known = path.exists(); "
        "path.touch(); sys.exit(not known)"
    )
    step = f"Step(name='ping', title='Waiting', command=(python, '-c', {code!r}), retry_seconds=60),"
    with plans.start(after=step) as supervised:
        supervised.wait_for(UP)
        assert marker.exists()


def test_taken_port__one_clear_line__nothing_is_started(plans: Plans) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "http.server", str(plans.port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=plans.folder,
    ) as other:
        from_port = f"Port {plans.port} is taken."

        def is_refused() -> bool:
            with plans.start() as supervised:
                supervised.wait_until(
                    lambda: UP in supervised.text or supervised.process.poll() is not None,
                    "it is up or has ended",
                )
                return from_port in supervised.text

        try:
            wait_until(is_refused, seconds=60, what="the other server holds the port")
            with plans.start() as supervised:
                assert supervised.exit_code() == 1
                assert supervised.text == (
                    f"{from_port} Stop what uses it or choose another: PORT={plans.port + 1} script/server\n"
                )
                supervised.assert_nothing_is_left(at_least=0)
        finally:
            other.kill()


def test_second_instance__is_refused_and_the_first_goes_on(plans: Plans) -> None:
    with plans.start() as first:
        first.wait_for(UP)
        with plans.start() as second:
            assert second.exit_code() == 1
            assert f"already runs on {plans.data_dir} (process {first.process.pid}" in second.text
            assert "WARMER_DATA_DIR=" in second.text
        assert running_servers(plans.data_dir)
        first.send(signal.SIGINT)
        assert first.exit_code() == 0, first.text


def test_killed_supervisor__nothing_is_left_and_the_next_one_starts(plans: Plans) -> None:
    with plans.start() as killed:
        killed.wait_for(UP)
        killed.send(signal.SIGKILL)
        killed.exit_code()
        killed.assert_nothing_is_left(at_least=4)
    # A stale note, as after a power failure.
    (plans.data_dir / "running.json").write_text(json.dumps({"REDIS_URL": "x"}))
    with plans.start() as following:
        following.wait_for(UP)
        assert running_servers(plans.data_dir)["REDIS_URL"].startswith("redis://127.0.0.1:")
        following.send(signal.SIGINT)
        assert following.exit_code() == 0, following.text


def test_server_of_the_environment__is_used_and_its_password_not_shown(plans: Plans) -> None:
    with plans.start(REDIS_URL="redis://:s3cret@example.invalid:6379/0") as supervised:
        supervised.wait_for(UP)
        assert "The cache server is the one that REDIS_URL names." in supervised.text
        assert "s3cret" not in supervised.text
        assert not (plans.data_dir / "redis").exists()
        servers = running_servers(plans.data_dir)
        assert servers["REDIS_URL"] == "redis://:s3cret@example.invalid:6379/0"
        supervised.send(signal.SIGINT)
        assert supervised.exit_code() == 0, supervised.text


def test_reader_of_the_output_is_gone__ctrl_c_still_ends_everything(plans: Plans) -> None:
    code = PROGRAM.format(port=plans.port, data_dir=str(plans.data_dir), before="", services="", after="")
    output = plans.folder / "output.txt"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=stream,
        )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()  # as `script/server | head -1`
        wait_until(
            lambda: bool(running_servers(plans.data_dir)), seconds=60, what="the servers are announced"
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert not (plans.data_dir / "running.json").exists()
