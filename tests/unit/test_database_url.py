"""`DATABASE_URL`: what Django gets, and that no error shows a password."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import ConnectionHandler
from pytest_django import DjangoDbBlocker

from config.database_url import database_settings


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_database_settings__postgresql(scheme: str) -> None:
    settings = database_settings(f"{scheme}://ada:p%40ss%2Fw%23rd@db.example.org:5433/site")

    assert {name: settings[name] for name in ("ENGINE", "USER", "PASSWORD", "HOST", "PORT", "NAME")} == {
        "ENGINE": "django.db.backends.postgresql",
        "USER": "ada",
        "PASSWORD": "p@ss/w#rd",
        "HOST": "db.example.org",
        "PORT": 5433,
        "NAME": "site",
    }


def test_database_settings__postgresql_connections_are_kept_and_checked() -> None:
    settings = database_settings("postgres://ada:secret@db.example.org/site")

    assert settings["CONN_MAX_AGE"] == 60
    assert settings["CONN_HEALTH_CHECKS"] is True


def test_database_settings__options_of_the_address() -> None:
    settings = database_settings("postgres://ada:secret@db.example.org/site?sslmode=require")

    assert settings["OPTIONS"] == {"sslmode": "require"}


def test_database_settings__sqlite_in_a_file(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> None:
    settings = database_settings(f"sqlite:///{tmp_path / 'db.sqlite3'}")

    connection = ConnectionHandler({"default": settings})["default"]
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        patience = cursor.execute("PRAGMA busy_timeout").fetchone()[0]
    connection.close()

    assert settings["NAME"] == str(tmp_path / "db.sqlite3")
    # Readers do not block the writer, and a writer waits for another.
    assert (mode, patience) == ("wal", 20_000)


def test_database_settings__sqlite_transaction_takes_the_lock_when_it_begins(
    tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    path = tmp_path / "db.sqlite3"
    connection: Any = ConnectionHandler({"default": database_settings(f"sqlite:///{path}")})["default"]
    other = sqlite3.connect(path, timeout=0, isolation_level=None)

    with django_db_blocker.unblock():
        connection.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")

    connection.rollback()
    other.close()
    connection.close()


def test_database_settings__sqlite_options_are_not_shared(tmp_path: Path) -> None:
    one = database_settings("sqlite:////one.sqlite3")
    one["OPTIONS"]["timeout"] = 1

    assert database_settings("sqlite:////two.sqlite3")["OPTIONS"]["timeout"] == 20


def test_database_settings__sqlite_options_of_the_address_win() -> None:
    assert database_settings("sqlite:////one.sqlite3?timeout=5")["OPTIONS"]["timeout"] == 5


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nosuch://ada:secret@db.example.org/site", "nosuch://ada:***@db.example.org/site"),
        ("postgres://ada:secret@db.example.org:port/site", "postgres://ada:***@db.example.org:port/site"),
        ("db.example.org/site", "db.example.org/site"),
        ("", ""),
    ],
)
def test_database_settings__address_that_cannot_be_used(url: str, shown: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        database_settings(url)

    assert str(caught.value) == (
        f"DATABASE_URL is {shown!r}: expected e.g. postgres://user:password@host:5432/name or "
        "sqlite:////absolute/path.sqlite3."
    )
    assert caught.value.__suppress_context__


def test_database_settings__driver_that_is_not_installed() -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        database_settings("oracle://ada:secret@db.example.org/site")

    message = str(caught.value)
    assert message.startswith(
        "DATABASE_URL is 'oracle://ada:***@db.example.org/site', and its driver cannot be loaded ("
    )
    assert message.endswith(
        "): expected e.g. postgres://user:password@host:5432/name or sqlite:////absolute/path.sqlite3."
    )
    assert "\n" not in message


@pytest.mark.parametrize(
    "password",
    [
        "topse@cret",
        pytest.param("topse/cret"),
        pytest.param("topse?cret"),
        pytest.param("topse#cret"),
    ],
)
def test_database_settings__password_that_is_not_escaped(password: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        database_settings(f"postgres://ada:{password}@db.example.org:port/site")

    message = str(caught.value)
    assert "topse" not in message
    assert "cret" not in message
