"""Fixtures for every test: the process's own Redis, empty at the start of each test."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import SimpleTestCase
from redis import Redis

from embedded.redis_server import RedisServer
from tests.servers import CACHE_DATABASE, SERVERS
from warmer.filling import read_counters

GOLDEN = Path(__file__).parent / "golden"


# What only triggers capture. docs/operations.md shows a site on triggers.
ON_TRIGGERS = ("test_row_races.py", "operations")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give random tests the time that was asked for, and deselect what a further run would only repeat.

    A run on PostgreSQL or on signals repeats the tests that use the database; one on signals also leaves out
    what only triggers capture.
    """
    on_signals = django_settings.WARMER_CAPTURE != "triggers"
    is_further = on_signals or config.getoption("database") == "postgresql"
    kept, deselected = [], []
    for item in items:
        if item.path.name in ("test_random.py", "test_moving_slots.py", "test_any_change.py", "test_soak.py"):
            asked_for = config.getoption("race_seconds") + 60 * config.getoption("soak_minutes")
            item.add_marker(pytest.mark.timeout(asked_for + 300))
        needs_triggers = on_signals and ({item.path.name, item.path.parent.name} & {*ON_TRIGGERS})
        is_left_out = needs_triggers or (is_further and not _uses_database(item))
        (deselected if is_left_out else kept).append(item)
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = kept


def _uses_database(item: pytest.Item) -> bool:
    fixtures = {"db", "transactional_db"}.intersection(getattr(item, "fixturenames", ()))
    is_test_case = issubclass(getattr(item, "cls", None) or object, SimpleTestCase)
    return bool(item.get_closest_marker("django_db") or fixtures or is_test_case)


def pytest_sessionfinish() -> None:
    """Forget what the last flush of a database was counted as: the cache is about to be stopped."""
    read_counters.forget()


@pytest.fixture(scope="session", autouse=True)
def _threads_have_the_projects_celery() -> None:
    """Make the project's app that of new threads too: under pytest-celery theirs is one without a broker."""
    # Only now: it wants settings, and pytest may load this file before there are any.
    from config import celery_app

    celery_app.set_default()
    # Made at its first use, it would keep the address of a broker that only one test has in its environment.
    assert celery_app.producer_pool


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """pytest-django's, and ids that no test gives itself."""
    # Only now, as above.
    from tests.support import initial_rows

    with django_db_blocker.unblock():
        initial_rows.begin_apart()
        initial_rows.remember("default")


@pytest.fixture(autouse=True)
def _empty_cache(pytestconfig: pytest.Config) -> None:
    # The broker's database stays as it is: a worker that a wider fixture started is using it.
    server = pytestconfig.stash[SERVERS].redis
    with server.start().client(CACHE_DATABASE) as client:
        client.flushdb()


@pytest.fixture(autouse=True)
def _process_is_as_new(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget counts, and which brokers and caches gave no answer; no thread writes counts to the cache."""
    # Only now, as above.
    from warmer.admin import questions
    from warmer.stores import breaker
    from warmer.tasks import broker

    monkeypatch.setattr(read_counters, "start_flushing", lambda process: None)
    monkeypatch.setattr(read_counters, "FLUSH_SECONDS", float("inf"))
    questions.asked.clear()
    for each in (read_counters, broker, breaker):
        each.forget()
    yield
    read_counters.forget()


@pytest.fixture(autouse=True)
def _settings_as_before() -> Iterator[None]:
    """Fail a test that leaves settings overridden: overrides end in the reverse order of their beginning.

    An `override_settings` in a fixture does not, where the test assigns to the fixture `settings` too.
    """
    before = django_settings._wrapped
    yield
    assert django_settings._wrapped is before


@pytest.fixture
def redis_server(pytestconfig: pytest.Config) -> Iterator[RedisServer]:
    """The Redis of this process, to stop, kill, pause or configure; afterwards it is as before."""
    server = pytestconfig.stash[SERVERS].redis
    yield server
    server.restart()


@pytest.fixture
def redis_client(pytestconfig: pytest.Config, _empty_cache: None) -> Iterator[Redis]:
    """A plain client of the cache's database: what is really stored there, as bytes."""
    with pytestconfig.stash[SERVERS].redis.client(CACHE_DATABASE) as client:
        yield client


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> Callable[..., None]:
    """Return a function that asserts that a string equals `tests/golden/NAME.txt`.

    `masks` maps a pattern of what differs between runs (times, ports) to what the file has in its place.
    With `--write-golden` the file is written instead: read the diff before you commit it.
    """

    def compare(name: str, text: str, *, masks: Mapping[str, str] | None = None) -> None:
        for pattern, mask in (masks or {}).items():
            text = re.sub(pattern, mask, text, flags=re.M)
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
        path = GOLDEN / f"{name}.txt"
        if pytestconfig.getoption("write_golden"):
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(text)
        expected = path.read_text() if path.exists() else ""
        assert text == expected, f"{path} differs. If the new text is right, run with --write-golden"

    return compare
