"""The steps of `script/lint` and `script/test`: all of them run, and the end says which failed."""

import signal
import subprocess

import pytest

from tests.support.processes import run

pytestmark = pytest.mark.system


def run_steps(*steps: str) -> subprocess.CompletedProcess[str]:
    lines = ["set -euo pipefail", ". script/lib/steps.sh", *steps, "summary script/x"]
    # A bash cannot trap what was ignored when it began, as in a suite that runs in the background.
    return run("bash", "-c", "\n".join(lines), preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def test_steps__a_failure_does_not_hide_the_others_and_is_the_exit_code() -> None:
    done = run_steps("step first true", "step second false", "step third echo 'I ran'")
    assert done.returncode == 1
    assert "I ran" in done.stdout
    *_, first, second, third, _ = done.stdout.splitlines()
    assert [line.split()[:2] for line in (first, second, third)] == [
        ["passed", "first"],
        ["FAILED", "second"],
        ["passed", "third"],
    ]
    assert run_steps("step first true", "step second true").returncode == 0


def test_steps__ctrl_c_ends_all_of_them() -> None:
    done = run_steps("step first bash -c 'kill -INT $PPID; exit 2'", "step second echo 'I ran'")
    assert done.returncode == 130
    assert "I ran" not in done.stdout
