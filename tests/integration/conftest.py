"""Fixtures of the integration tests: jobs of a test's own, rows to read, and the cache as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from myapp.models import Comment, Post
from users.models import CustomUser
from warmer import jobs
from warmer.invalidation import captures_by_triggers, receivers, triggers
from warmer.invalidation.transactions import watcher
from warmer.models import ChangeRecord

NUMBER = count(1)

# What only triggers capture.
ON_TRIGGERS = ("test_row_races.py",)  # and operations/: docs/operations.md is of a site on triggers


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what only triggers can show, in a run on signals."""
    if captures_by_triggers():
        return
    deselected = [
        item for item in items if item.path.name in ON_TRIGGERS or item.path.parent.name == "operations"
    ]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]


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
    yield
    for name in set(jobs) - before:
        jobs.unregister(name)
    triggers.forget_installed()
    if commits:
        with watcher("default").quiet():
            (triggers.prune if captures_by_triggers() else triggers.remove)("default")


def install_triggers() -> None:
    """Install what the declared jobs need, as `migrate` does."""
    with watcher("default").quiet():
        triggers.install("default")


@pytest.fixture
def impatient_cache(settings: Any) -> None:
    """Have the cache be given up after half a second, for tests in which it hangs."""
    entry = settings.CACHES["default"]
    waits = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
    pool = entry["OPTIONS"]["CONNECTION_POOL_KWARGS"] | waits
    another = {
        # django-redis keeps a pool for good by its address.
        "LOCATION": entry["LOCATION"] + "?client_name=impatient",
        "OPTIONS": entry["OPTIONS"] | {"CONNECTION_POOL_KWARGS": pool},
    }
    settings.CACHES = {"default": entry | another}


@pytest.fixture
def make_user() -> Callable[..., CustomUser]:
    """Return a function that creates a user."""

    def make(**fields: object) -> CustomUser:
        number = next(NUMBER)
        defaults = {"username": f"user{number}", "email": f"user{number}@example.org"}
        return CustomUser.objects.create(**defaults | fields)

    return make


@pytest.fixture
def make_post(make_user: Callable[..., CustomUser]) -> Callable[..., Post]:
    """Return a function that creates a published popular post."""

    def make(**fields: object) -> Post:
        number = next(NUMBER)
        defaults = {
            "title": f"Post {number}",
            "slug": f"post-{number}",
            "body": "Once upon a time.",
            "is_popular": True,
            "published_at": datetime(2026, 1, 1, tzinfo=UTC),
        }
        if not {"author", "author_id"} & set(fields):
            defaults["author"] = make_user()
        return Post.objects.create(**defaults | fields)

    return make


@pytest.fixture
def make_comment(make_user: Callable[..., CustomUser]) -> Callable[..., Comment]:
    """Return a function that creates a comment."""

    def make(**fields: object) -> Comment:
        defaults: dict[str, object] = {"body": "Well said."}
        if not {"author", "author_id"} & set(fields):
            defaults["author"] = make_user()
        return Comment.objects.create(**defaults | fields)

    return make


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
