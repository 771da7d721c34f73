"""The steps of `script/lint` and `script/test`: all of them run, and the end says which failed."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.system.supervised import ROOT

pytestmark = pytest.mark.system


def run_steps(*steps: str) -> subprocess.CompletedProcess[str]:
    lines = ["set -euo pipefail", ". script/lib/steps.sh", *steps, "summary script/x"]
    return subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        # A bash cannot trap what was ignored when it began, as in a suite that runs in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_steps__a_failure_does_not_hide_the_others_and_is_the_exit_code() -> None:
    done = run_steps("step first true", "step second false", "step third echo 'I ran'")
    assert done.returncode == 1
    assert "I ran" in done.stdout
    *_, first, second, third, last = done.stdout.splitlines()
    assert first.split()[:2] == ["passed", "first"]
    assert second.split()[:2] == ["FAILED", "second"]
    assert third.split()[:2] == ["passed", "third"]
    assert last == "script/x: 1 of 3 steps FAILED."


def test_steps__all_passed() -> None:
    done = run_steps("step first true", "step second true")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "script/x: all 2 steps passed."


def test_steps__ctrl_c_ends_all_of_them() -> None:
    done = run_steps("step first bash -c 'kill -INT $PPID; exit 2'", "step second echo 'I ran'")
    assert done.returncode == 130
    assert "I ran" not in done.stdout
