"""Where the database begins to count: past every id that a test gives itself.

A test that gives a row an id, or asks for one that is not there, would else fail where the tests before it
happened to leave the counter just there: a counter outlives the rows of its test.
"""

from itertools import count

from django.apps import apps
from django.db import connection

STEP = 1_000_000


def begin_apart() -> None:
    """Make each table count from a million of its own: no two models' rows share an id by chance."""
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
