"""The rows that `migrate` leaves in a new database, to go back to after a test that commits; and where ids begin."""

from itertools import count
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connection, connections, transaction
from django.test import override_settings

from tests.support.transactions import unwatched
from warmer.invalidation import triggers
from warmer.models import ChangeRecord

Rows = list[tuple[Any, ...]]
STEP = 1_000_000

_remembered: dict[str, dict[str, Rows]] = {}
# How the run captures changes: a test may have chosen another way, and its settings outlive its database.
_capture: dict[str, str] = {}


def begin_apart() -> None:
    """Make each table count from a million of its own: no two models' rows share an id by chance.

    A test that gives a row an id, or asks for one that is not there, would else fail where the tests before it
    happened to leave the counter just there: a counter outlives the rows of its test.
    """
    firsts = count(STEP, STEP)
    with connection.cursor() as cursor:
        for model in apps.get_models(include_auto_created=True):
            field = model._meta.auto_field
            if field is None or not model._meta.managed:
                continue
            table, column = model._meta.db_table, field.column
            match connection.vendor:
                case "postgresql":
                    sequence = "SELECT setval(pg_get_serial_sequence(%s, %s), %s)"
                    cursor.execute(sequence, [connection.ops.quote_name(table), column, next(firsts)])
                case "sqlite":
                    cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s", [table])
                    cursor.execute("INSERT INTO sqlite_sequence VALUES (%s, %s)", [table, next(firsts)])
                case vendor:
                    raise AssertionError(f"{vendor}: how its counters are set is not known here")


def remember(using: str) -> None:
    """Remember the rows that a database has now."""
    with connections[using].cursor() as cursor:
        rows = {table: _rows(cursor, table) for table in _tables(using)}
    del rows[ChangeRecord._meta.db_table]
    _capture[using] = settings.WARMER_CAPTURE
    _remembered[using] = {table: found for table, found in rows.items() if found}


def restore(using: str) -> bool:
    """Give a database the rows that it had; return whether they are known."""
    before = _remembered.get(using)
    if before is None:
        return False
    exists = "SELECT '{0}' WHERE EXISTS (SELECT 1 FROM \"{0}\")"
    with unwatched(using), transaction.atomic(using), connections[using].cursor() as cursor:
        cursor.execute(" UNION ALL ".join(map(exists.format, _tables(using))))
        filled = {table for (table,) in cursor.fetchall()}
        for table in filled | before.keys():
            _replace(cursor, table, before.get(table, []))
        _replace(cursor, ChangeRecord._meta.db_table, [])  # triggers recorded the above
    with override_settings(WARMER_CAPTURE=_capture[using]):
        triggers.on_migrated(using=using)
    return True


def _replace(cursor: Any, table: str, rows: Rows) -> None:
    if rows and _rows(cursor, table) == rows:
        return
    cursor.execute(f'DELETE FROM "{table}"')
    if rows:
        cursor.executemany(f'INSERT INTO "{table}" VALUES ({", ".join(["%s"] * len(rows[0]))})', rows)


def _rows(cursor: Any, table: str) -> Rows:
    cursor.execute(f'SELECT * FROM "{table}"')
    return list(cursor.fetchall())


def _tables(using: str) -> list[str]:
    return connections[using].introspection.django_table_names(only_existing=True, include_views=False)
