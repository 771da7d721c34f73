"""What SQLite alone can show: statements that are not committed yet, odd values, migrations."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from django.apps import apps
from django.core.cache import cache
from django.db import connection
from django.db.models.signals import post_migrate, pre_migrate

from tests.package.invalidation.capture import outsiders
from tests.package.invalidation.capture.things import EVERY, INSERT, Things, execute, unapplied
from tests.support.fixtures import install_triggers
from tests.support.others import in_thread
from warmer.invalidation import Relay, triggers
from warmer.invalidation.trigger_sql import sqlite

pytestmark = pytest.mark.usefixtures("db")


# -- when a statement is committed ----------------------------------------------------------------------
def read(known: Things) -> None:
    """Read what is cached, which takes no statement."""
    cache.set(known.job.key(1), "old")
    assert known.job.get(1) == "cached"  # as it was loaded anew
    assert known.gone() == {2, 3, 4}
    cache.delete(known.job.key(1))


AFTER: dict[str, Callable[[Things], object]] = {
    "next_statement": lambda _known: execute("SELECT 1"),
    "post_save": lambda known: known.model.objects.create(owner=5),
    "read": read,
    "relay": lambda _known: in_thread(lambda: Relay().poll()).join(),  # by a connection of its own
}


@pytest.mark.parametrize("after", AFTER.values(), ids=AFTER)
def test_returning__that_is_read_row_by_row_is_not_applied_before_it_is_committed(known: Things, after: Any) -> None:
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


# -- values ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "gone"),
    [
        *(("x'00ff'", EVERY), ("9e999", EVERY), ("-9e999", EVERY), ("1.5", EVERY), ("'a word'", EVERY)),
        ("cast(x'ff' AS text)", EVERY),
        *(("NULL", set()), ("'1'", {1}), ("1.0", {1})),
    ],
)
def test_trigger__of_any_value_records_it_or_every_key(known: Things, value: str, gone: set[int]) -> None:
    execute(INSERT.replace("1", value))
    assert known.relayed() == gone
    assert unapplied() == 0


def test_trigger__leaves_the_last_id_and_the_number_of_changes_as_they_are(known: Things) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO myapp_thing (id, owner, text) VALUES (41, 1, ''), (42, 2, '')")
        assert (cursor.lastrowid, cursor.rowcount) == (42, 2)


# -- migrations -----------------------------------------------------------------------------------------
def migrating(signal: Any, *, plan: Any = (("any", False),)) -> None:
    config = apps.get_app_config("warmer")
    signal.send(config, app_config=config, verbosity=0, interactive=False, using="default", plan=[*plan])


def alter(known: Things) -> None:
    """Alter a table as a migration does, and write past the triggers."""
    execute(
        "ALTER TABLE myapp_thing RENAME COLUMN owner TO boss",
        "ALTER TABLE myapp_thing DROP COLUMN boss",
        "ALTER TABLE myapp_thing ADD COLUMN owner integer",
        "ALTER TABLE warmer_changerecord RENAME TO warmer_old_records",
        "ALTER TABLE warmer_old_records RENAME TO warmer_changerecord",
        "UPDATE myapp_thing SET owner = 2",
    )
    assert known.gone() == set()


@pytest.mark.parametrize("crashed", [False, True])
def test_migration__removes_triggers_and_installs_them_and_invalidates_their_jobs(known: Things, crashed: bool) -> None:
    known.model.objects.create(owner=1)
    known.warm()
    migrating(pre_migrate)
    alter(known)
    if crashed:  # and is made again in another process
        triggers.forget_installed()
        assert known.table in {each.table for each in triggers.problems("default")}
    migrating(post_migrate)
    assert triggers.problems("default") == []
    assert known.gone() == EVERY
    assert known.gone_by(known.model.objects.update, owner=3) == {2, 3}


def test_migration__without_a_plan_leaves_the_triggers(known: Things) -> None:
    migrating(pre_migrate, plan=[])
    outsiders.run(INSERT)
    migrating(post_migrate, plan=[])
    assert known.gone() == set()
    assert known.relayed() == {1}


def test_migration__removes_the_triggers_of_a_table_that_was_renamed(known: Things) -> None:
    """They follow the table, and keep the names that they had."""
    execute("ALTER TABLE myapp_thing RENAME TO myapp_renamed")
    try:
        migrating(pre_migrate)
        execute("ALTER TABLE myapp_renamed DROP COLUMN owner")
    finally:
        execute("ALTER TABLE myapp_renamed RENAME TO myapp_thing")


def test_migration__takes_away_triggers_of_a_project_that_went_back_to_signals(known: Things, settings: Any) -> None:
    """They would make `ALTER TABLE` fail."""
    try:
        settings.WARMER_CAPTURE = "signals"
        migrating(pre_migrate)
        alter(known)
        migrating(post_migrate)
        assert sqlite.find(connection, ()) == {}
    finally:
        settings.WARMER_CAPTURE = "triggers"
        install_triggers()
    execute(INSERT)
    assert known.gone() == {1}
