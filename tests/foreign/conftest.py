"""Fixtures of the foreign project's tests: the project, and the servers that its settings name."""

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from embedded.postgres_server import USER, PostgresServer
from embedded.redis_server import RedisServer
from tests.foreign.project import TEMPLATE, Database, ForeignProject, NewDatabase
from tests.foreign.venv import foreign_python
from tests.servers import SERVERS


@pytest.fixture(scope="session")
def python() -> Path:
    return foreign_python()


@pytest.fixture(scope="session")
def environment(pytestconfig: pytest.Config) -> dict[str, str]:
    """The project's environment: cache and broker are this process's Redis."""
    return {"MYSITE_REDIS": pytestconfig.stash[SERVERS].redis.url().rsplit("/", 1)[0]}


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory, python: Path, environment: dict[str, str]) -> Path:
    """A copy of the project with a migrated database, for the tests to copy."""
    folder = tmp_path_factory.mktemp("foreign") / "project"
    shutil.copytree(TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    ForeignProject(folder=folder, python=python, environment=environment).manage("migrate")
    return folder


@pytest.fixture
def foreign(
    tmp_path: Path, python: Path, environment: dict[str, str], migrated: Path, redis_server: RedisServer
) -> ForeignProject:
    """A new copy of the project, migrated on SQLite; cache and broker are empty."""
    folder = tmp_path / "project"
    shutil.copytree(migrated, folder)
    with redis_server.client() as client:
        client.flushall()
    foreign = ForeignProject(folder=folder, python=python, environment=dict(environment))
    # The doctor waits five minutes for beat's first report, which the session may have spent already.
    foreign.sql("UPDATE django_celery_beat_periodictask SET date_changed = datetime('now')")
    return foreign


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    own = pytestconfig.stash[SERVERS].postgres
    if own.is_running:
        yield own
        return
    with PostgresServer() as server:
        yield server


_numbers = count()


@pytest.fixture
def new_database(postgres: PostgresServer) -> NewDatabase:
    """Create an empty PostgreSQL database on each call; return its entry for `DATABASES`."""

    def create() -> Database:
        name = f"foreign_{next(_numbers)}"
        postgres.create_database(name)
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "USER": USER,
            "HOST": str(postgres.folder),
            "PORT": 5432,
        }

    return create


@pytest.fixture
def on_postgresql(foreign: ForeignProject, new_database: NewDatabase) -> None:
    foreign.settings(f"DATABASES = {{'default': {new_database()!r}}}")
