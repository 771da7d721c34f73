"""What a review of the capture found, as it is on SQLite."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from threading import Thread
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.db.models.signals import post_migrate, pre_migrate

from tests.integration.capture import outsiders
from tests.integration.capture.things import Things, execute, install, things
from warmer.invalidation import Relay
from warmer.invalidation.triggers import sqlite

pytestmark = pytest.mark.usefixtures("db")


def relayed(_known: Things) -> None:
    """Apply what waits as a worker does: by a connection of its own."""

    def poll() -> None:
        try:
            Relay().poll()
        finally:
            connection.close()

    thread = Thread(target=poll)
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(lambda _known: execute("SELECT 1"), id="next_statement"),
        pytest.param(lambda known: known.model.objects.create(owner=5), id="post_save"),
        pytest.param(relayed, id="relay"),
    ],
)
def test_returning__that_is_read_row_by_row_is_not_applied_before_it_is_committed(
    after: Callable[[Things], None],
) -> None:
    with things() as known:
        known.model.objects.bulk_create([known.model(owner=1), known.model(owner=2)])
        known.warm()
        statement = "UPDATE myapp_thing SET owner = owner + 2 RETURNING *"
        with closing(known.model.objects.raw(statement).iterator()) as rows:
            next(rows)
            assert known.model.objects.count() == 2  # another statement
            assert set(outsiders.fetch("SELECT owner FROM myapp_thing")) == {(1,), (2,)}
            assert known.gone() == set()
            assert len(list(rows)) == 1
        after(known)
        assert {1, 2, 3, 4} <= known.gone()


def test_migration__takes_away_triggers_of_a_project_that_went_back_to_signals(settings: Any) -> None:
    """They would make `ALTER TABLE` fail."""
    config = apps.get_app_config("warmer")
    options: Any = {"app_config": config, "verbosity": 0, "interactive": False, "using": "default"}
    with things() as known:
        try:
            settings.WARMER_CAPTURE = "signals"
            pre_migrate.send(config, plan=[("any", False)], **options)
            execute(
                "ALTER TABLE warmer_changerecord RENAME TO warmer_old_records",
                "ALTER TABLE warmer_old_records RENAME TO warmer_changerecord",
                "ALTER TABLE myapp_thing RENAME COLUMN owner TO boss",
                "ALTER TABLE myapp_thing RENAME COLUMN boss TO owner",
            )
            post_migrate.send(config, plan=[("any", False)], **options)
            assert sqlite.find_all(connection) == set()
        finally:
            settings.WARMER_CAPTURE = "triggers"
            install()
        known.model.objects.bulk_create([known.model(owner=1)])
        assert known.gone() == {1}
