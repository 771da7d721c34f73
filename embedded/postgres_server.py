"""Run a PostgreSQL of our own: a fresh cluster in a temporary folder, gone when it stops."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from embedded.errors import ServerFailed
from embedded.postgres_binaries import PostgresBinaries, copy_wheel, find_postgres
from embedded.processes import Ask, Identity, describe_exit, finish, remove_folder, spawn, temporary_folder
from embedded.waiting import wait_until

START_SECONDS = 60
USER = "postgres"
PORT = 5432  # only a part of the socket's name: the server does not listen on the network
LOG_NAME = "server.log"
# A socket's whole path fits into 104 bytes on macOS, and "/.s.PGSQL.5432" is a part of it.
LONGEST_BASE = 60

# Nothing here outlives the run, so nothing needs to survive a power failure.
OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "100",
    "shared_buffers": "64MB",
}
# "Fast": open connections are closed. "Immediate": without a checkpoint.
FAST_THEN_IMMEDIATE = (Ask(signal=signal.SIGINT, seconds=10), Ask(signal=signal.SIGQUIT, seconds=5))


class PostgresServer:
    """A PostgreSQL cluster that only this machine's socket in a private folder leads to.

    PostgreSQL refuses to run as root: then it runs as the user `nobody`, in a folder of that user.

    Args:
        options: settings as in postgresql.conf, beside `OPTIONS`.
    """

    def __init__(self, *, options: Mapping[str, str] | None = None) -> None:
        self.options = {**OPTIONS, **(options or {})}
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._binaries: PostgresBinaries | None = None

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database, for `DATABASE_URL`."""
        if self._folder is None:
            raise ServerFailed("The PostgreSQL server has no address yet: call start() first.")
        return f"postgresql://{USER}@{quote(str(self._folder), safe='')}:{PORT}/{database}"

    def start(self) -> Self:
        """Make a new cluster, start its server and wait until it answers.

        Raises:
            ServerNotFound: PostgreSQL is not installed.
            ServerFailed: the server did not start; the message has its last lines.
        """
        if self.is_running:
            return self
        binaries = find_postgres(os.environ.get("POSTGRES_BIN", ""))
        identity = _other_user() if os.geteuid() == 0 else None
        self._folder = _private_folder(identity)
        try:
            self._binaries = _runnable(binaries, self._folder, identity)
            self._initialise(self._binaries, identity)
            self._launch(self._binaries, identity)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server and remove the cluster."""
        if self._process is not None:
            finish(self._process, asks=FAST_THEN_IMMEDIATE)
            self._process = None
        if self._folder is not None:
            remove_folder(self._folder)
            self._folder = None

    @property
    def is_running(self) -> bool:
        """Return whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def version(self) -> str:
        """Return which server this is, e.g. "PostgreSQL 17.2"."""
        return self._binaries.version if self._binaries else "PostgreSQL, not started"

    def create_database(self, name: str) -> str:
        """Create an empty database; return its address."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _initialise(self, binaries: PostgresBinaries, identity: Identity | None) -> None:
        command = [str(binaries.initdb), "--pgdata", str(self._data), "--username", USER]
        command += ["--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"]
        with self._log.open("ab") as log:
            process = spawn(command, output=log, cwd=self._folder, env=self._environment(), identity=identity)
            try:
                code = process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                code = 1
            finally:
                finish(process)
        if code:
            raise self._failed(f"{binaries.initdb} failed with {describe_exit(code)}.")

    def _launch(self, binaries: PostgresBinaries, identity: Identity | None) -> None:
        options = {**self.options, "listen_addresses": "", "port": str(PORT)}
        command = [str(binaries.postgres), "-D", str(self._data), "-k", str(self._folder)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            self._process = spawn(
                command, output=log, cwd=self._folder, env=self._environment(), identity=identity
            )
        try:
            wait_until(self._up_or_gone, seconds=START_SECONDS, what="PostgreSQL answers")
        except TimeoutError as error:
            raise self._failed(str(error)) from None
        if not self.is_running:
            code = describe_exit(self._process.wait())
            raise self._failed(f"{binaries.postgres} ended at its start with {code}.")

    def _up_or_gone(self) -> bool:
        if not self.is_running:
            return True
        try:
            psycopg.connect(self.url(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _environment(self) -> dict[str, str]:
        """Return our environment without what would lead PostgreSQL elsewhere (PGDATA, PGPORT...)."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**ours, "HOME": str(self._folder), "LC_ALL": "C"}

    def _failed(self, what: str) -> ServerFailed:
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        last = "".join(f"\n  {line}" for line in lines[-10:] if line.strip())
        return ServerFailed(f"{what} Its last lines:{last or ' none'}")

    @property
    def _data(self) -> Path:
        assert self._folder is not None
        return self._folder / "data"

    @property
    def _log(self) -> Path:
        assert self._folder is not None
        return self._folder / LOG_NAME


def _other_user() -> Identity:
    """Return the user that PostgreSQL runs as when we are root."""
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise ServerFailed(
            "PostgreSQL refuses to run as root, and there is no user `nobody` to run it as: run this "
            "as an ordinary user."
        ) from None
    return Identity(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


def _private_folder(identity: Identity | None) -> Path:
    """Make a folder that only the server's user may open, with a path short enough for a socket."""
    for base in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 - mkdtemp makes it safe
        # A host in a URL has no upper case: such a folder could not be named in DATABASE_URL.
        fits = len(str(base)) <= LONGEST_BASE and str(base) == str(base).lower()
        if fits and base.is_dir() and (identity is None or _open_to_all(base)):
            folder = temporary_folder("warmer-pg-", base=base)
            if identity is not None:
                os.chown(folder, identity.uid, identity.gid)
            return folder
    raise ServerFailed(
        f"PostgreSQL needs a temporary folder with a short path in lower case, open to its user: "
        f"neither {tempfile.gettempdir()} nor /tmp is one. Set TMPDIR to such a folder."
    )


def _runnable(binaries: PostgresBinaries, folder: Path, identity: Identity | None) -> PostgresBinaries:
    """Return programs that the server's user can reach: a venv below /root is closed to all but root."""
    if identity is None or _open_to_all(binaries.folder):
        return binaries
    if binaries.wheel is None:
        raise ServerFailed(
            f"PostgreSQL refuses to run as root, and its programs in {binaries.folder} cannot be "
            f"reached by the user {identity.name}: run this as an ordinary user, or move them."
        )
    return copy_wheel(binaries, folder / "programs")


def _open_to_all(folder: Path) -> bool:
    """Return whether any user can go into a folder."""
    real = Path(os.path.realpath(folder))
    return all(parent.stat().st_mode & 0o001 for parent in (real, *real.parents))
