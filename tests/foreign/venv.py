"""Keep the foreign project's venv up to date: the wheel is built and installed again whenever its files change."""

import fcntl
import hashlib
import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.processes import ROOT, run

VENV = ROOT / ".foreign-venv"
PYTHON = VENV / "bin" / "python"
WHEELS = VENV / "wheels"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
EXTRAS = "beat,metrics,msgspec,redis"
INSTALL_SECONDS = 600


def foreign_python() -> Path:
    """Return the Python of a venv that holds the wheel of this checkout and what the foreign project uses."""
    files = sorted(path for path in (ROOT / "warmer").rglob("*") if path.is_file() and path.suffix != ".pyc")
    digest = hashlib.sha256()
    for path in (REQUIREMENTS, ROOT / "pyproject.toml", *files):
        digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    with VENV.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of the same test run may be installing
        stamp = VENV / ".installed"
        if not stamp.exists() or stamp.read_text() != digest.hexdigest():
            _install_all()
            stamp.write_text(digest.hexdigest())  # only after success, so that a failure is tried again
    return PYTHON


def _install_all() -> None:
    if not PYTHON.exists():
        install(sys.executable, "-m", "venv", VENV)
    pip("install", "-r", REQUIREMENTS)  # with setuptools, which builds the wheel
    shutil.rmtree(WHEELS, ignore_errors=True)
    with TemporaryDirectory() as folder:
        # Setuptools leaves build/ and *.egg-info beside what it builds, and takes old files from there.
        names = ["warmer", "pyproject.toml", "LICENSE"]
        install("cp", "-RL", *(ROOT / name for name in names), folder)
        pip("wheel", "--no-deps", "--no-build-isolation", "-w", WHEELS, folder)
    pip("install", "--no-deps", "--force-reinstall", built_wheel())
    pip("install", f"{built_wheel()}[{EXTRAS}]")


def built_wheel() -> Path:
    [wheel] = WHEELS.glob("warmer-*.whl")
    return wheel


def pip(*arguments: str | Path) -> None:
    install(PYTHON, "-m", "pip", *arguments)


def install(*command: str | Path) -> None:
    """Run a command to its end; fail with its last lines."""
    # What is never imported need not be compiled.
    done = run(*command, seconds=INSTALL_SECONDS, env=os.environ | {"PIP_NO_COMPILE": "1"})
    if done.returncode:
        lines = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise RuntimeError(
            f"{' '.join(map(str, command))} failed:\n{lines}\n"
            "Is the network up, and does pip reach its package index? Then run this again."
        )
