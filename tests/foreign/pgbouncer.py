"""Run a pgbouncer of our own in front of a PostgreSQL, gone when it stops."""

import os
import shutil

import psycopg

from embedded.postgres_server import USER, PostgresServer
from embedded.processes import EmbeddedError
from embedded.server import Server

VARIABLE = "WARMER_TEST_PGBOUNCER"
PORT = 6432  # only a part of the socket's name: it does not listen on the network

# A transaction of any client gets the next of two connections to the server: who keeps something on a
# connection between two transactions misses it at once.
CONFIGURATION = """\
[databases]
* = host={postgres} port=5432 user={user}

[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
server_round_robin = 1
default_pool_size = 2
min_pool_size = 2
"""


def find_pgbouncer() -> str:
    """Return the program that `WARMER_TEST_PGBOUNCER` names, or the installed one."""
    given = os.environ.get(VARIABLE, "")
    # Debian has it where only root's PATH leads to.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    if found := shutil.which(given or "pgbouncer", path=path):
        return found
    raise EmbeddedError(
        f"{VARIABLE} is {given!r}, which is not a program that runs. Set it to the path of pgbouncer, or unset it."
        if given
        else "No pgbouncer was found. Install it (Debian and Ubuntu: `apt install pgbouncer`, macOS: "
        f"`brew install pgbouncer`), or set {VARIABLE} to its path."
    )


class Pgbouncer(Server):
    """A pgbouncer in transaction mode, which only this machine's socket in a private folder leads to."""

    def __init__(self, postgres: PostgresServer) -> None:
        super().__init__()
        self._postgres = postgres

    def _start(self) -> None:
        program = find_pgbouncer()
        configuration = self.folder / "pgbouncer.ini"
        configuration.write_text(
            CONFIGURATION.format(postgres=self._postgres.folder, user=USER, port=PORT, folder=self.folder)
        )
        self._drop_root()  # as which it refuses to run
        self._launch([program, str(configuration)])

    def _answers(self) -> bool:
        try:
            psycopg.connect(host=str(self.folder), port=PORT, user=USER, dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True
