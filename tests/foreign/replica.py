"""Run a PostgreSQL that streams from another one, gone when it stops."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from embedded.postgres_server import PORT, USER, PostgresServer
from embedded.waiting import wait_until


class Replica(PostgresServer):
    """A streaming replica. It may be read while it lags: see `pause`."""

    def __init__(self, primary: PostgresServer, *, options: Mapping[str, str] | None = None) -> None:
        super().__init__(options=options)
        self._primary = primary

    def pause(self) -> None:
        """Show the state of the primary as it is now, whatever is written to it."""
        self.catch_up()
        self._ask("SELECT pg_wal_replay_pause()")
        wait_until(lambda: self._ask("SELECT pg_get_wal_replay_pause_state()") == "paused", what="it pauses")

    def catch_up(self) -> None:
        """Go on after a pause; return when everything that was committed on the primary can be read."""
        self._ask("SELECT CASE WHEN pg_is_wal_replay_paused() THEN pg_wal_replay_resume() END")
        with psycopg.connect(self._primary.url(), autocommit=True) as primary:
            # Without this, what is committed asynchronously may not even be on its way.
            written = primary.execute("SELECT txid_current(), pg_current_wal_insert_lsn()").fetchone()
            primary.execute("CHECKPOINT")
        assert written
        wait_until(lambda: self._ask(f"SELECT pg_last_wal_replay_lsn() >= '{written[1]}'"), what="it catches up")

    def _creation(self, programs: Path, data: str) -> list[str]:
        place = ["--host", str(self._primary.folder), "--port", str(PORT), "--username", USER]
        copy = [str(programs / "pg_basebackup"), "--pgdata", data, *place, "--checkpoint", "fast"]
        return [*copy, "--write-recovery-conf", "--no-sync"]

    def _ask(self, question: str) -> Any:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            row = connection.execute(question).fetchone()  # type: ignore[call-overload]
            return row[0]
