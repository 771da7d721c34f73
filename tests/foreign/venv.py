"""Keep the foreign project's venv up to date: the wheel is installed again whenever its files change."""

import fcntl
import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.processes import ROOT, run

VENV = ROOT / ".foreign-venv"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
EXTRAS = "beat,metrics,msgspec,redis"
INSTALL_SECONDS = 600


def foreign_python() -> Path:
    """Return the Python of a venv that holds the wheel of this checkout and what the foreign project uses.

    Raises:
        RuntimeError: it could not be installed; with the last lines of pip.
    """
    python = VENV / "bin" / "python"
    with _one_at_a_time():
        if not python.exists():
            install(sys.executable, "-m", "venv", VENV)
        packages = _digest([REQUIREMENTS, ROOT / "pyproject.toml"])
        if _stamp("packages") != packages:
            install(python, "-m", "pip", "install", "-r", REQUIREMENTS)
            with built_wheel(python) as wheel:
                install(python, "-m", "pip", "install", f"{wheel}[{EXTRAS}]")
            _stamp("packages", packages)
        files = sorted(path for path in (ROOT / "warmer").rglob("*") if path.is_file())
        sources = _digest([ROOT / "pyproject.toml", *files])
        if _stamp("sources") != sources:
            with built_wheel(python) as wheel:
                install(python, "-m", "pip", "install", "--no-deps", "--force-reinstall", wheel)
            _stamp("sources", sources)
    return python


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Wait for another process of the same test run that installs."""
    with VENV.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def built_wheel(python: Path) -> Iterator[Path]:
    """Build the wheel of this checkout by a Python that has setuptools."""
    with TemporaryDirectory() as folder:
        # Setuptools leaves build/ and *.egg-info beside what it builds, and takes old files from there.
        copy = Path(folder) / "source"
        copy.mkdir()
        names = ["warmer", "pyproject.toml", "LICENSE"]
        install("cp", "-RL", *(str(ROOT / name) for name in names), copy)
        install(python, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, copy)
        [wheel] = Path(folder).glob("warmer-*.whl")
        yield wheel


def _stamp(name: str, value: str | None = None) -> str:
    """Return what was installed last, or note it: only after success, so that a failure is tried again."""
    file = VENV / f".{name}"
    if value is not None:
        file.write_text(value)
    return file.read_text() if file.exists() else ""


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        if path.suffix != ".pyc":
            digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def install(*command: str | Path) -> None:
    """Run a command to its end; fail with its last lines."""
    done = run(*command, seconds=INSTALL_SECONDS)
    if done.returncode:
        lines = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise RuntimeError(
            f"{' '.join(map(str, command))} failed:\n{lines}\n"
            "Is the network up, and does pip reach its package index? Then run this again."
        )
