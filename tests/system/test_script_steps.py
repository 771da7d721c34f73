"""The steps of `script/lint` and `script/test`: all of them run, and the end says which failed."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from embedded.waiting import wait_until
from tests.system.supervised import ROOT

pytestmark = pytest.mark.system


def start_steps(*steps: str) -> subprocess.Popen[str]:
    lines = ["set -euo pipefail", ". script/lib/steps.sh", *steps, "summary script/x"]
    return subprocess.Popen(
        ["bash", "-c", "\n".join(lines)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_steps(*steps: str) -> subprocess.CompletedProcess[str]:
    process = start_steps(*steps)
    out, _ = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out)


def has_to_take(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Say whether a signal was sent that the process did not take yet (where /proc tells)."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        return False
    pending = next(line for line in status.read_text().splitlines() if line.startswith("ShdPnd:"))
    return bool(int(pending.split()[1], 16) >> (number - 1) & 1)


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
    process = start_steps("step first bash -c 'echo ready; read; exit 2'", "step second echo 'I ran'")
    assert process.stdout
    while process.stdout.readline() != "ready\n":
        pass
    process.send_signal(signal.SIGINT)
    # A bash that hears of both at once, the signal and the end of what it waits for, forgets the signal.
    wait_until(lambda: not has_to_take(process, signal.SIGINT), seconds=60, what="the signal is taken")
    out, _ = process.communicate("\n", timeout=60)
    assert process.returncode == 130
    assert "I ran" not in out
