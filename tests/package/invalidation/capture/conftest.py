"""Fixtures of the tests of capture by triggers."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection

from tests.package.invalidation.capture.things import Things, things
from tests.package.invalidation.capture.world import World, small_world
from tests.support.fixtures import install_triggers
from tests.support.transactions import unwatched
from warmer.invalidation import captures_by_triggers
from warmer.models import ChangeRecord


@pytest.fixture(scope="module")
def small(django_db_setup: None, django_db_blocker: Any) -> Iterator[World]:
    """The models and jobs of a module: their tables are made once."""
    with django_db_blocker.unblock():
        with small_world() as world:
            yield world
        connection.close()


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close the connection, as pytest-django does: a later test without a database must find none open."""
    yield
    connection.close()


@pytest.fixture
def db(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The database without a transaction around the test and without a flush at its end: only records go.

    It has the name of pytest-django's, by which that one knows which databases to create.
    """
    with django_db_blocker.unblock():
        forget_records()
        yield
        if captures_by_triggers():
            install_triggers()  # those of the site, if the test removed them
        forget_records()


def forget_records() -> None:
    with unwatched():
        ChangeRecord.objects.all().delete()


@pytest.fixture
def known(db: None) -> Iterator[Things]:
    """A table of things with its job, and triggers for it."""
    with things() as known:
        yield known


@pytest.fixture
def world(small: World, db: None, pytestconfig: pytest.Config) -> World:
    """The small world, its rows as at the beginning and every key cached; what it does is committed."""
    world = small.another(pytestconfig.getoption("race_seed"))
    world.reset()
    cache.clear()
    world.warm()
    return world


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Collect what only one database can show in its own run, and nothing where signals capture."""
    other = {"sqlite": "postgresql", "postgresql": "sqlite"}[config.getoption("database")]
    has_signals = os.environ.get("WARMER_CAPTURE") == "signals"
    is_for_both = collection_path.name in ("test_every_kind.py", "test_any_change.py")
    return True if other in collection_path.name or (has_signals and not is_for_both) else None
