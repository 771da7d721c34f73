"""Find the databases where changes cannot be recorded."""

from django.db import connections, router
from django.db.migrations.recorder import MigrationRecorder

from warmer.invalidation.records import TABLE, visit
from warmer.invalidation.sources import sources


def needed() -> list[str]:
    """Return the databases with tables that jobs depend on."""
    models = {source.model for source in sources().by_name.values()}
    return sorted({router.db_for_write(model) for model in models})


def unrecorded() -> list[str]:
    """Return the databases with tables that jobs depend on, and our migration, but not our table.

    Django also records a migration as applied where a router keeps its tables out, and does not run it again.
    """
    aliases = needed()
    kept, unanswered = visit(lambda alias: alias, aliases)
    return [alias for alias in aliases if not (alias in kept or alias in unanswered) and _lacks_table(alias)]


def _lacks_table(using: str) -> bool:
    connection = connections[using]
    if TABLE in connection.introspection.table_names():
        return False  # but the database is read-only
    return any(app == "warmer" for app, _ in MigrationRecorder(connection).applied_migrations())
