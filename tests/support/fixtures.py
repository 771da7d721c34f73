"""Fixtures for tests of the package and of the project: own jobs, rows, clients, a bare Python."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client, override_settings

from myapp.models import Comment, Post
from tests.support.jobs import empty_registry, registry  # noqa: F401
from tests.support.processes import ROOT, run
from tests.support.rows import a_comment, a_post, a_user
from tests.support.transactions import unwatched
from users.models import CustomUser
from warmer import jobs
from warmer.invalidation import captures_by_triggers, receivers, triggers
from warmer.models import ChangeRecord

# A busy machine is slow, which says nothing about the code.
hypothesis.settings.register_profile("unit", deadline=None)
hypothesis.settings.load_profile("unit")

Python = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def python(tmp_path: Path) -> Python:
    """Return a function that runs code in a new interpreter, with the environment that it is given."""

    def run_clean(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        # Nothing of the test run's own settings, and no data of the developer's.
        clean = {"PATH": os.environ["PATH"], "WARMER_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
        return run(sys.executable, "-W", "error", "-c", code, env=clean | environment, cwd=tmp_path)

    return run_clean


@pytest.fixture
def own_jobs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test declare jobs, with triggers for them where it has a database; forget them at its end."""
    before = set(jobs)
    listen = receivers.listen
    marker = request.node.get_closest_marker("django_db")
    has_database = marker or "db" in request.fixturenames
    commits = bool(marker and marker.kwargs.get("transaction")) or "transactional_db" in request.fixturenames
    if commits:
        request.getfixturevalue("transactional_db")  # it ends after this one

    def listen_and_install() -> None:
        listen()
        if has_database and captures_by_triggers():
            install_triggers()

    if marker:
        ChangeRecord.objects.all().delete()  # of the tests before, whose tables were emptied at their end
    monkeypatch.setattr(receivers, "listen", listen_and_install)
    triggers.forget_installed()
    capture = django_settings.WARMER_CAPTURE
    yield
    for name in set(jobs) - before:
        jobs.unregister(name)
    triggers.forget_installed()
    if commits:
        # As the run captures, whatever the test chose: its settings may outlive its database.
        with override_settings(WARMER_CAPTURE=capture), unwatched():
            (triggers.prune if captures_by_triggers() else triggers.remove)("default")


def install_triggers() -> list[str]:
    """Install what the declared jobs need; unlike `migrate`, count nothing as missed until now."""
    with unwatched():
        steps = triggers._steps("default", triggers._compare("default"))
        for table, statements in steps.items():
            steps[table] = [each for each in statements if each not in triggers._missed(table)]
        return triggers._run("default", steps)


def use_pool(settings: Any, name: str, **options: Any) -> None:
    """Reach the cache by another pool of connections."""
    entry = settings.CACHES["default"]
    pool = entry["OPTIONS"]["CONNECTION_POOL_KWARGS"] | options
    another = {
        # django-redis keeps a pool for good by its address.
        "LOCATION": f"{entry['LOCATION']}?client_name={name}",
        "OPTIONS": entry["OPTIONS"] | {"CONNECTION_POOL_KWARGS": pool},
    }
    settings.CACHES = {"default": entry | another}


@pytest.fixture
def impatient_cache(settings: Any) -> None:
    """Give up the cache after half a second, for tests in which it hangs."""
    use_pool(settings, "impatient", socket_timeout=0.5, socket_connect_timeout=0.5)


@pytest.fixture
def no_database(transactional_db: None) -> Iterator[None]:
    """Lead the site to a database that cannot be opened."""
    before = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict["NAME"] = "/no/such/folder/no-such-database"
    yield
    connection.close()
    connection.settings_dict.update(before)


@pytest.fixture
def make_user() -> Callable[..., CustomUser]:
    return a_user


@pytest.fixture
def make_post() -> Callable[..., Post]:
    """Return a function that creates a published popular post."""
    return partial(a_post, is_popular=True)


@pytest.fixture
def make_comment() -> Callable[..., Comment]:
    return a_comment


@pytest.fixture
def log_in(make_user: Callable[..., CustomUser]) -> Callable[..., Client]:
    """Return a function that logs a member of the staff in, with the named permissions."""

    def log_in(*permissions: str, **fields: object) -> Client:
        user = make_user(is_staff=True, **fields)
        found = Permission.objects.filter(codename__in=permissions)
        assert {permission.codename for permission in found} == set(permissions)
        user.user_permissions.set(found)
        client = Client()
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def operator(log_in: Callable[..., Client]) -> Client:
    """A client named `olga` that may do everything of warmer's."""
    return log_in(
        *("view_job", "view_warmingrun", "view_cacheaudit"),
        *("warm_job", "invalidate_job", "pause_job", "audit_job", "edit_schedule", "cancel_run"),
        username="olga",
    )
