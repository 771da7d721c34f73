"""Install, compare and remove the triggers of a database, and find databases without the table of records.

Installing only widens: what another release or service needs stays. `prune` and `remove` narrow.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import ModuleType
from typing import Any

from django.db import DatabaseError, connections, router, transaction
from django.db.migrations.recorder import MigrationRecorder

from warmer.declarations.registry import jobs
from warmer.exceptions import TriggersRefused
from warmer.invalidation.apply import floors
from warmer.invalidation.records import TABLE, are_kept, captures_by_triggers, forget_tables, visit
from warmer.invalidation.sources import sources
from warmer.invalidation.trigger_sql import postgresql, sqlite
from warmer.invalidation.trigger_sql.definition import EVENTS, Definition, Installed, literal
from warmer.report import describe
from warmer.signals import triggers_changed

logger = logging.getLogger(__name__)

Comparison = Mapping[str, tuple[Definition, Installed]]
"""What the jobs need of each table, and what it has."""
VENDORS: dict[str, ModuleType] = {"postgresql": postgresql, "sqlite": sqlite}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A table whose capture does not meet the needs of its jobs: why, and what to do."""

    using: str
    table: str
    why: str
    fix: str


def databases() -> list[str]:
    """Return the databases that keep records and support triggers: PostgreSQL and SQLite."""
    return [alias for alias, can_capture in visit(_can_capture)[0].items() if can_capture]


def _can_capture(using: str) -> bool:
    return connections[using].vendor in VENDORS and are_kept(using)


def needed() -> list[str]:
    """Return the databases with tables that jobs depend on."""
    models = {source.model for source in sources().by_name.values()}
    return sorted({router.db_for_write(model) for model in models})


def unrecorded() -> list[str]:
    """Return the databases with tables that jobs depend on, and our migration, but not our table.

    Django also records a migration as applied where a router keeps its tables out, and does not run it again.
    """
    aliases = needed()
    kept, unanswered = visit(str, aliases)
    found = []
    for connection in (connections[each] for each in aliases if each not in {*kept, *unanswered}):
        if TABLE in connection.introspection.table_names():
            continue  # but the role may not write, and need not see which migrations were applied
        if any(app == "warmer" for app, _ in MigrationRecorder(connection).applied_migrations()):
            found.append(connection.alias)
    return found


# -- installed triggers ------------------------------------------------------------------------------
# By database and version of the declared jobs.
_installed: dict[tuple[str, int], frozenset[str]] = {}


def installed(using: str) -> frozenset[str]:
    """Return the tables of a database whose changes triggers record. Cached until the triggers change."""
    asked = using, jobs.version
    if asked not in _installed:
        _installed[asked] = _captured(_compare(using)) if _can_capture(using) else frozenset()
    return _installed[asked]


def forget_installed() -> None:
    """Look up again which tables have triggers."""
    _installed.clear()
    triggers_changed.send(None)


def problems(*using: str) -> list[Problem]:
    """Return the tables that are not captured as their jobs need, with one query for each database.

    Args:
        using: the databases; default: all that answer. One that cannot capture changes has no problems.

    Raises:
        Error: one of the databases in `using` does not answer.
    """
    found = []
    for alias in filter(_can_capture, using or databases()):
        compared = _compare(alias)
        captured = _captured(compared)
        if _installed.get((alias, jobs.version), captured) != captured:
            forget_installed()  # another process changed some: signals must cover the rest
        for table, (wanted, now) in compared.items():
            if why := _why_not(wanted, now):
                fix = f"Run 'manage.py warm_triggers --database {alias}'."
                if not now.is_table:
                    fix = "Depend on the tables behind it instead."
                found.append(Problem(using=alias, table=table, why=why, fix=fix))
    return found


def _compare(using: str) -> Comparison:
    """Return what the jobs need of each table of a database and what it has, with one query."""
    found = _vendor(using).find(connections[using], sources().by_table)
    return {
        table: (Definition(columns={each.compared: each.columns for each in of_table}), found[table])
        for table, of_table in sources().by_table.items()
        if table in found and router.allow_migrate_model(using, of_table[0].model)
    }


def _why_not(wanted: Definition, now: Installed) -> str:
    """Return why a table is not captured as its jobs need; empty if it is."""
    if not now.is_table:
        return "is a view or a foreign table, so only Django's signals report its changes"
    if not now.events:
        return "has no triggers"
    if now.owner:
        return f"has triggers that cannot write to {TABLE}"
    if now.partitions:
        return f"has partitions without triggers: {', '.join(now.partitions)}"
    is_complete = now.events.issuperset(EVENTS) and not now.is_outdated
    if not is_complete or now.definition is None or now.definition.merged(wanted) != now.definition:
        return "has triggers that are disabled, outdated, or record less than its jobs need"
    return ""


def _captured(compared: Comparison) -> frozenset[str]:
    """Return the tables whose triggers record everything that their jobs need."""
    return frozenset(table for table, (wanted, now) in compared.items() if not _why_not(wanted, now))


# -- installing and removing ---------------------------------------------------------------------------
def prune(using: str) -> list[str]:
    """Make triggers record what this project needs and no more; return the tables that changed.

    Raises:
        TriggersRefused: the database refuses it.
    """
    wanted = _compare(using)
    unwanted = {table: drop for table, drop in _drops(using).items() if table not in wanted}
    dropped = _run(using, {table: _without(using, drop, wanted) for table, drop in unwanted.items()})
    return [*dropped, *_run(using, _steps(using, _compare(using), exactly=True))]


def _without(using: str, drop: Sequence[str], wanted: Comparison) -> Iterator[str]:
    """Yield the statements that remove the triggers of a table, and then those that restore others.

    A renamed table and the one that has its name now share a function, and lose their triggers together.
    """
    yield from drop
    compared = _compare(using)
    lost = _captured(wanted) - _captured(compared)
    steps = _steps(using, {table: each for table, each in compared.items() if table in lost})
    yield from chain.from_iterable(steps.values())


def remove(using: str) -> list[str]:
    """Remove every trigger of ours; return the tables that had some.

    Raises:
        TriggersRefused: the database refuses it.
    """
    return _run(using, _drops(using))


def _drops(using: str) -> dict[str, Sequence[str]]:
    """Return the statements that remove triggers, by table."""
    found = _vendor(using).find(connections[using], sources().by_table)
    return {table: now.drop for table, now in sorted(found.items()) if now.drop}


def script(using: str) -> str:
    """Return the SQL that installs missing triggers, for someone else to run."""
    prepare, tables = _vendor(using).PREPARE, _steps(using, _compare(using)).values()
    steps = chain.from_iterable(["BEGIN", *prepare, *statements, "COMMIT"] for statements in tables)
    return "".join(f"{each.strip()};\n" for each in steps)


def _steps(using: str, compared: Comparison, *, exactly: bool = False) -> dict[str, list[str]]:
    """Return the statements that install missing triggers, by table.

    Args:
        exactly: also those that narrow triggers to what this project needs.
    """
    found = {}
    for table, (wanted, now) in compared.items():
        why = _why_not(wanted, now)
        if now.is_table and (why or (exactly and now.definition != wanted)):
            definition = wanted if exactly else wanted.merged(now.definition)
            statements = _vendor(using).create(connections[using], table, definition, now)
            found[table] = [*statements, *(_missed(table) if why else ())]
    return found


def _missed(table: str) -> list[str]:
    """Return the statements that invalidate the jobs of a table: until now, changes may have been missed."""
    names = (literal(source.name) for source in sources().by_table[table])
    return [f"INSERT INTO {TABLE} (source) VALUES ({name})" for name in names]


def _run(using: str, steps: Mapping[str, Iterable[str]]) -> list[str]:
    """Run the statements for each table in a transaction of its own.

    Each waits for one table's writers and lets go of it. With locks on two, a writer of both could fail.
    """
    connection, done, refused = connections[using], [], []
    for table, statements in steps.items():
        try:
            with transaction.atomic(using=using), connection.cursor() as cursor:
                for statement in chain(_vendor(using).PREPARE, statements):
                    cursor.execute(statement)
            done.append(table)
        except DatabaseError as error:
            refused.append(f"{table}: {describe(error)}")
    if done:
        forget_installed()
    if refused:
        raise TriggersRefused(
            f"The database {using!r} refused triggers on {'; '.join(refused)}. Until they are there, only "
            "Django's signals report changes to these tables. Run 'manage.py warm_triggers' at a quiet "
            "moment as a role that owns them, or give the output of 'manage.py warm_triggers --sql' to a DBA."
        )
    return done


def _vendor(using: str) -> ModuleType:
    return VENDORS[connections[using].vendor]


# -- migrations ----------------------------------------------------------------------------------------
def on_migrating(*, using: str, plan: Sequence[Any] = (), **_kwargs: Any) -> None:
    """`pre_migrate`: remove SQLite's triggers, which would make `ALTER TABLE` fail."""
    if not plan:
        return
    if connections[using].vendor == "sqlite":
        remove(using)
    forget_tables()


def on_migrated(*, using: str, plan: Sequence[Any] | None = None, **_kwargs: Any) -> None:
    """`post_migrate`: install missing triggers; log it if the database refuses them."""
    floors.clear()  # a flush may restart the record ids at 1
    if plan or not are_kept(using):
        forget_tables()  # the migration may have created or dropped it
    try:
        if captures_by_triggers() and _can_capture(using):
            catch_up(using)
    except TriggersRefused as error:
        logger.error("%s", error)


def catch_up(using: str) -> list[str]:
    """Install missing triggers, and invalidate the jobs whose changes may have been missed.

    Returns:
        The tables whose triggers changed.

    Raises:
        TriggersRefused: the database refuses a trigger. The others are installed.
    """
    compared = _compare(using)
    _installed[using, jobs.version] = _captured(compared)
    return _run(using, _steps(using, compared))
