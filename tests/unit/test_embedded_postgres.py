"""The embedded PostgreSQL: found where it may be, run as whom it must be, gone when it stops."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from config.database_url import database_settings
from embedded import postgres_binaries, postgres_server
from embedded.errors import ServerFailed, ServerNotFound
from embedded.postgres_binaries import WHEEL, PostgresBinaries, copy_wheel, find_postgres
from embedded.postgres_server import PostgresServer
from embedded.processes import Identity
from embedded.wheels import package_folder


def fake_bin(folder: Path, version: str = "16.1", code: int = 0) -> Path:
    folder.mkdir(parents=True)
    for program in ("initdb", "postgres"):
        path = folder / program
        path.write_text(f'#!/bin/sh\necho "{program} (PostgreSQL) {version}"\nexit {code}\n')
        path.chmod(0o755)
    return folder


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(postgres_binaries, "INSTALLED", ())
    monkeypatch.setattr(postgres_binaries, "package_folder", lambda name: None)


def test_find__uses_the_given_folder(tmp_path: Path) -> None:
    folder = fake_bin(tmp_path / "bin")
    assert find_postgres(str(folder)) == PostgresBinaries(folder=folder, version="PostgreSQL 16.1")


def test_find__given_folder_without_programs__names_variable_and_value(tmp_path: Path) -> None:
    with pytest.raises(ServerNotFound, match=f"POSTGRES_BIN is '{tmp_path}'.*bin folder"):
        find_postgres(str(tmp_path))


@pytest.mark.usefixtures("nothing_installed")
def test_find__nothing_installed__says_how_to_get_it() -> None:
    with pytest.raises(ServerNotFound, match=r"pip install pixeltable.*apt install.*brew.*POSTGRES_BIN"):
        find_postgres()


@pytest.mark.usefixtures("nothing_installed")
def test_find__takes_the_newest_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_bin(tmp_path / "9.6" / "bin", "9.6.24")
    fake_bin(tmp_path / "15" / "bin", "15.8")
    fake_bin(tmp_path / "18" / "bin", "18.1", code=127)
    monkeypatch.setattr(postgres_binaries, "INSTALLED", (f"{tmp_path}/*/bin",))
    assert find_postgres().version == "PostgreSQL 15.8"


@pytest.mark.usefixtures("nothing_installed")
def test_find__on_path_by_a_link__finds_the_folder_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fake_bin(tmp_path / "pg" / "bin")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "postgres").symlink_to(folder / "postgres")
    monkeypatch.setenv("PATH", f"{tmp_path / 'links'}:/bin")
    assert find_postgres().folder == folder


@pytest.mark.usefixtures("nothing_installed")
def test_find__nothing_else__uses_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / WHEEL
    fake_bin(wheel / "pginstall" / "bin", "16.14")
    monkeypatch.setattr(postgres_binaries, "package_folder", {WHEEL: wheel}.get)
    found = find_postgres()
    assert found.version == "PostgreSQL 16.14"
    assert found.wheel == wheel


def test_copy_wheel__keeps_what_the_programs_find_by_relative_paths(tmp_path: Path) -> None:
    site = tmp_path / "site"
    folder = fake_bin(site / WHEEL / "pginstall18" / "bin")
    (site / WHEEL / "pginstall18" / "share").mkdir()
    (site / f"{WHEEL}.libs").mkdir()
    copy = copy_wheel(PostgresBinaries(folder=folder, version="x"), tmp_path / "copy")
    assert copy.folder == tmp_path / "copy" / WHEEL / "pginstall18" / "bin"
    assert copy.postgres.exists()
    assert (copy.folder.parent / "share").is_dir()
    assert (tmp_path / "copy" / f"{WHEEL}.libs").is_dir()


def check_real_server(server: PostgresServer) -> None:
    """Start a real server, use it through Django's settings, stop it: nothing is left."""
    with server:
        url = server.create_database("warmer")
        folder = Path(unquote(urlsplit(url).netloc.partition("@")[2].rpartition(":")[0]))
        assert database_settings(url)["HOST"] == str(folder)
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT current_database(), current_setting('fsync')").fetchone()
            assert row == ("warmer", "off")
            port = connection.execute("SHOW listen_addresses").fetchone()
            assert port == ("",)  # only the socket, in a folder that others may not open
        assert folder.stat().st_mode & 0o077 == 0
        assert server.version().startswith("PostgreSQL ")
    assert not folder.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)


def test_server__with_whatever_is_found() -> None:
    check_real_server(PostgresServer())


def test_server__with_the_wheels_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = package_folder(WHEEL)
    assert wheel is not None
    monkeypatch.setenv("POSTGRES_BIN", str(wheel / "pginstall18" / "bin"))
    check_real_server(PostgresServer())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_server__programs_only_root_can_reach__runs_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = package_folder(WHEEL)
    assert wheel is not None
    closed = wheel / "pginstall18" / "bin"
    open_to_all = postgres_server._open_to_all
    monkeypatch.setenv("POSTGRES_BIN", str(closed))
    monkeypatch.setattr(postgres_server, "_open_to_all", lambda path: path != closed and open_to_all(path))
    check_real_server(PostgresServer())


def test_server__failing_initdb__shows_its_words_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    folder = fake_bin(tmp_path / "pg" / "bin")
    (folder / "initdb").write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo 16.1 && exit\necho disk full\nexit 3\n'
    )
    monkeypatch.setenv("POSTGRES_BIN", str(folder))
    monkeypatch.setattr(postgres_server, "_open_to_all", lambda path: True)
    made: list[Path] = []
    private_folder = postgres_server._private_folder

    def note_folder(identity: Identity | None) -> Path:
        made.append(private_folder(identity))
        return made[-1]

    monkeypatch.setattr(postgres_server, "_private_folder", note_folder)
    monkeypatch.setattr(postgres_server, "_other_user", lambda: None)
    with pytest.raises(ServerFailed, match=r"(?s)initdb failed with exit code 3.*disk full"):
        PostgresServer().start()
    assert made
    assert not made[0].exists()


@pytest.mark.parametrize("name", ["x" * 80, "T"])
def test_private_folder__long_or_upper_case_tmpdir__uses_tmp(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfit = tmp_path / name
    unfit.mkdir()
    monkeypatch.setattr(postgres_server, "LONGEST_BASE", len(str(tmp_path)) + 10)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(unfit))
    folder = postgres_server._private_folder(None)
    folder.rmdir()
    assert folder.parent == Path("/tmp")
