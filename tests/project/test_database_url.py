"""`DATABASE_URL`: what Django gets, and that no error shows a password."""

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
    settings = database_settings(f"{scheme}://ada:p%40ss%2Fw%23rd@db.example.org:5433/site?sslmode=require")
    expected = {
        "ENGINE": "django.db.backends.postgresql",
        "USER": "ada",
        "PASSWORD": "p@ss/w#rd",
        "HOST": "db.example.org",
        "PORT": 5433,
        "NAME": "site",
        "OPTIONS": {"connect_timeout": 5, "sslmode": "require"},
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }
    assert {name: settings[name] for name in expected} == expected


@pytest.mark.parametrize(
    "place", ["/site?host=FOLDER", "//cloudsql/A-project:europe:DB/site", "%2Fcloudsql%2FA-project%3Aeurope%3ADB/site"]
)
def test_database_settings__unix_socket(place: str) -> None:
    folder = "/cloudsql/A-project:europe:DB"
    settings = database_settings(f"postgres://ada:secret@{place.replace('FOLDER', folder)}")
    found = {name: settings[name] for name in ("HOST", "PORT", "NAME", "USER", "PASSWORD")}
    assert found == {"HOST": folder, "PORT": "", "NAME": "site", "USER": "ada", "PASSWORD": "secret"}
    assert "host" not in settings.get("OPTIONS", {})


@pytest.mark.parametrize(("pool", "age"), [("true", 0), ("false", 60)])
def test_database_settings__postgresql_with_a_pool_keeps_no_connection_of_its_own(pool: str, age: int) -> None:
    settings = database_settings(f"postgres://ada:pw@db.example.org/site?pool={pool}")
    connection: Any = ConnectionHandler({"default": settings})["default"]
    assert settings["CONN_MAX_AGE"] == age
    assert bool(connection.pool) is (pool == "true")  # Django raises for a pool that it cannot use


def test_database_settings__postgresql_with_a_pool_of_another_kind_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"//\*\*\*@db.*pool must be true or false"):
        database_settings("postgres://ada:topse@db.example.org/site?pool=5")


def test_database_settings__sqlite__writers_wait_and_readers_do_not(
    tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    path = tmp_path / "db.sqlite3"
    connection: Any = ConnectionHandler({"default": database_settings(f"sqlite:///{path}")})["default"]
    other = sqlite3.connect(path, timeout=0, isolation_level=None)
    with django_db_blocker.unblock():
        with connection.cursor() as cursor:
            assert cursor.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
            assert cursor.execute("PRAGMA busy_timeout").fetchone()[0] == 20_000
        # A transaction takes the lock when it begins.
        connection.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    connection.rollback()
    other.close()
    connection.close()


def test_database_settings__sqlite_options_of_the_address_win_and_are_not_shared() -> None:
    assert database_settings("sqlite:////one.sqlite3?timeout=5")["OPTIONS"]["timeout"] == 5
    database_settings("sqlite:////one.sqlite3")["OPTIONS"]["timeout"] = 1
    assert database_settings("sqlite:////two.sqlite3")["OPTIONS"]["timeout"] == 20


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nosuch://ada:topse@db.example.org/site", "'nosuch://***@db.example.org/site'"),
        ("postgres://ada:topse@db.example.org:port/site", "'postgres://***'"),
        ("oracle://ada:topse@db.example.org/site", "'oracle://***@db.example.org/site', and its driver"),
        ("db.example.org/site", "'***'"),
        ("ada:topse@db.example.org:5432/site", "'***'"),
        ("", "''"),
        # Passwords that are not escaped.
        *((f"postgres://ada:topse{sign}cret@db.example.org:port/site", "") for sign in "@/?#"),
    ],
)
def test_database_settings__refused_without_showing_the_password(url: str, shown: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="expected e") as caught:
        database_settings(url)
    message = str(caught.value)
    assert message.startswith(f"DATABASE_URL is {shown}")
    assert "topse" not in message
    assert "cret" not in message
    assert "\n" not in message
    assert caught.value.__suppress_context__
