"""A pytest plugin that starts the servers of the suite, before Django's settings are read.

Each process has a Redis of its own (with `-n` each worker), so a test may flush or stop it. With
`--database=postgresql` one PostgreSQL serves the whole run: each worker has its own database there.
What the environment says about servers is for the site, not for the tests: it is not used, but for
`TEST_DATABASE_URL`, the address of a PostgreSQL that tests may create databases on.
"""

import os
import sqlite3
import sys
from collections.abc import Generator
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Self

import pytest

from embedded.postgres_server import PostgresServer
from embedded.processes import EmbeddedError
from embedded.redis_server import RedisServer

CACHE_DATABASE = 0
BROKER_DATABASE = 1


class SuiteRedis(RedisServer):
    """A server whose return this process notices at once; how it waits for that is a test of its own."""

    def start(self) -> Self:
        super().start()
        self._close_circuits()
        return self

    def resume(self) -> None:
        super().resume()
        self._close_circuits()

    @staticmethod
    def _close_circuits() -> None:
        if breaker := sys.modules.get("warmer.stores.breaker"):
            breaker.forget()


@dataclass(frozen=True, kw_only=True)
class Servers:
    """What this process started for its tests, and what it changed to lead them there."""

    redis: RedisServer
    postgres: PostgresServer
    database: str
    folder: TemporaryDirectory[str]
    environment: pytest.MonkeyPatch

    def stop(self) -> None:
        self.redis.stop()
        self.postgres.stop()
        self.folder.cleanup()
        self.environment.undo()


SERVERS = pytest.StashKey[Servers]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--race-seconds", type=int, default=20, help="how long the randomised race runs")
    parser.addoption("--soak-minutes", type=int, default=0, help="how long faults befall a site; 0: one round")
    parser.addoption("--race-seed", type=int, default=1, help="the seed of its random numbers")
    parser.addoption(
        "--database",
        choices=("sqlite", "postgresql"),
        default="sqlite",
        help="the database that the tests run on (default: %(default)s)",
    )
    parser.addoption(
        "--write-docs",
        action="store_true",
        help="tests/project/operations: put what is printed into docs/operations.md; not with -n",
    )
    parser.addoption("--write-golden", action="store_true", help="rewrite tests/golden/ with what is printed now")


# A wrapper runs before every plain hook: pytest-django reads the settings in a plain one.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    servers = Servers(
        redis=SuiteRedis(),
        postgres=PostgresServer(),
        database=early_config.known_args_namespace.database,
        folder=TemporaryDirectory(prefix="warmer-tests-"),
        environment=pytest.MonkeyPatch(),
    )
    early_config.stash[SERVERS] = servers
    try:
        _start(servers)
        return (yield)
    except BaseException as error:
        servers.stop()
        if isinstance(error, EmbeddedError):
            raise pytest.UsageError(str(error)) from None
        raise


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[SERVERS].stop()


def pytest_report_header(config: pytest.Config) -> str:
    servers = config.stash[SERVERS]
    database = f"SQLite {sqlite3.sqlite_version}"
    if servers.database == "postgresql":
        given = "PostgreSQL of TEST_DATABASE_URL"
        database = servers.postgres.version() if servers.postgres.is_running else given
    return f"servers: {servers.redis.version()}, {database}"


def _start(servers: Servers) -> None:
    servers.redis.start()
    environment = {
        "DJANGO_ENV": "test",
        "REDIS_URL": servers.redis.url(CACHE_DATABASE),
        "CELERY_BROKER_URL": servers.redis.url(BROKER_DATABASE),
    }
    # A worker of xdist has its address from the controller.
    if "PYTEST_XDIST_WORKER" not in os.environ:
        environment["DATABASE_URL"] = _database_url(servers)
    for name, value in environment.items():
        servers.environment.setenv(name, value)


def _database_url(servers: Servers) -> str:
    if servers.database == "sqlite":
        return f"sqlite:///{servers.folder.name}/db.sqlite3"
    if given := os.environ.get("TEST_DATABASE_URL"):
        return given
    return servers.postgres.start().create_database("warmer")
