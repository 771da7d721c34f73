"""The embedded PostgreSQL: found where it may be, run as whom it must be, gone when it stops."""

from pathlib import Path

import psycopg
import pytest

from config.database_url import database_settings
from embedded import postgres_server
from embedded.errors import EmbeddedError
from embedded.postgres_server import PostgresServer, find_postgres


def programs(folder: Path, body: str) -> Path:
    """Make an `initdb` and a `postgres` that any user can run."""
    folder.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    return folder


def test_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_BIN", str(tmp_path))
    with pytest.raises(EmbeddedError, match=f"POSTGRES_BIN is '{tmp_path}'.*bin folder"):
        find_postgres()
    given = programs(tmp_path / "bin", "exit 0")
    monkeypatch.setenv("POSTGRES_BIN", str(given))
    assert find_postgres() == given
    monkeypatch.delenv("POSTGRES_BIN")
    monkeypatch.setattr(postgres_server, "wheel_folder", lambda name: None)
    with pytest.raises(EmbeddedError, match=r"pip install pixeltable.*POSTGRES_BIN"):
        find_postgres()


def test_server__is_used_through_djangos_settings__leaves_nothing() -> None:
    with PostgresServer() as server:
        url, folder = server.create_database("warmer"), server.folder
        assert database_settings(url)["HOST"] == str(folder)
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT current_database(), current_setting('fsync')").fetchone()
            assert row == ("warmer", "off")
            # Only the socket, in a folder that others may not open.
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert folder.stat().st_mode & 0o077 == 0
        assert server.version().startswith("PostgreSQL ")
    assert not folder.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
