"""The scripts: `script/setup` finds a Python that works and tries again what failed; steps hide no failure."""

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.processes import ROOT, run


class Checkout:
    """A folder with `script/setup`, and a PATH with nothing but what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.bin = folder / "bin"
        self.bin.mkdir()
        (self.folder / "script").mkdir(parents=True)
        shutil.copy(ROOT / "script" / "setup", self.folder / "script")
        shutil.copytree(ROOT / "script" / "lib", self.folder / "script" / "lib")
        for tool in ("bash", "cmp", "cp", "dirname", "env", "rm", "tail"):
            found = shutil.which(tool)
            assert found
            (self.bin / tool).symlink_to(found)
        self.require()

    def require(self, *lines: str) -> None:
        (self.folder / "requirements-dev.txt").write_text("".join(f"{line}\n" for line in lines))

    def program(self, name: str, body: str) -> Path:
        path = self.bin / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
        return path

    def real_python(self, name: str) -> None:
        self.program(name, f'exec {sys.base_prefix}/bin/python3 "$@"')

    def setup(self, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(self.bin), "HOME": str(self.folder), **environment}
        return run("bash", self.folder / "script" / "setup", cwd="/", env=env, seconds=300)

    def prefix(self) -> str:
        """Return where the venv's Python finds its packages."""
        return run(self.folder / ".venv/bin/python", "-c", "import sys; print(sys.prefix)").stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_setup__says_what_is_missing__then_installs_once_by_uv_or_pip__and_tries_again_what_failed(
    checkout: Checkout,
) -> None:
    def refusal(**environment: str) -> str:
        done = checkout.setup(**environment)
        assert done.returncode == 1
        return done.stderr

    # A Python that only exists does not work.
    checkout.program("python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    checkout.program("python3.12", "exit 1")
    assert "No Python 3.11 or newer was found" in refusal()
    checkout.program("python3", f'[[ "$2" == *ensurepip* ]] && exit 1; exec {sys.base_prefix}/bin/python3 "$@"')
    assert "python3-venv" in refusal()
    checkout.real_python("python3")
    assert "PYTHON is '/nowhere/python3'" in refusal(PYTHON="/nowhere/python3")
    (checkout.folder / ".venv.lock").mkdir()
    assert f".venv.lock cannot be written in {checkout.folder}.\nMake that folder writable" in refusal()
    (checkout.folder / ".venv.lock").rmdir()

    half_made = checkout.folder / ".venv" / "bin"  # by an interrupted set-up, of another Python
    half_made.mkdir(parents=True)
    (half_made / "python").symlink_to(f"{sys.base_prefix}/bin/python3")
    calls = checkout.folder / "calls"
    checkout.program("uv", f'echo "$@" >> {calls}; if [ "$1" = venv ]; then python3 -m venv --without-pip .venv; fi')
    done = checkout.setup()
    assert done.returncode == 0, done.stderr
    assert "installing requirements-dev.txt with uv" in done.stderr
    assert "pip install --quiet --python .venv/bin/python -r requirements-dev.txt" in calls.read_text()
    assert checkout.prefix() == str(checkout.folder / ".venv")

    # Two at once, of which one installs.
    checkout.require("# changed")
    with ThreadPoolExecutor() as threads:
        both = [each.result() for each in [threads.submit(checkout.setup, UV="") for _ in range(2)]]
    said = [done.stderr for done in both]
    assert [done.returncode for done in both] == [0, 0], said
    assert sum("installing requirements-dev.txt with pip" in each for each in said) == 1
    assert sum("waiting for another process" in each for each in said) == 1
    assert checkout.prefix() == str(checkout.folder / ".venv")
    assert os.access(half_made / "pip", os.X_OK)

    (checkout.bin / "python3").unlink()
    done = checkout.setup(UV="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    checkout.real_python("python3")
    checkout.require("no-such-package-of-ours==1.0")
    offline = {"PIP_NO_INDEX": "1", "UV": ""}
    for _ in range(2):
        text = refusal(**offline)
        assert "no-such-package-of-ours" in text
        assert "run this again" in text
    checkout.require()
    assert checkout.setup(**offline).returncode == 0


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
