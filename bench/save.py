"""Saving users: what capturing a change adds, against the usual handler with one `cache.delete`.

SQLite and PostgreSQL both wait for the disk at each commit. PostgreSQL also has what is hard on records: a
snapshot that keeps dead rows, a backlog after an outage, and statements that change many rows. Such a
statement sends no signal, so there triggers are compared with no invalidation at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from django.db import transaction
from django.db.models import F

from bench.capture import Capture, Database, declare_databases
from bench.measure import Benchmark, Comparison, Contender
from users.models import CustomUser

# How many rows each part has, of each row of the benchmark.
UPDATED, INSERTED, RECORDED, SAVEPOINTS = 100, 800, 100, 16
TITLES: Mapping[Capture, str] = {
    "triggers": "warmer: triggers",
    "signals": "warmer: signals",
    "handler": "post_save handler: cache.delete",
    "plain": "no invalidation at all",
}
SAVE_TARGET, BULK_TARGET, TWICE_TARGET = 1.5, 2.0, 2.2

Part = tuple[list[Contender], list[Comparison]]


def benchmark(rows: int) -> Benchmark:
    """Return who saves, updates and inserts: on both databases, with each way to capture changes."""
    databases = declare_databases(SAVEPOINTS * rows)
    postgresql = databases["PostgreSQL"]
    parts = [
        *(part for title, each in databases.items() for part in _saves(title, each, rows)),
        _first_save(postgresql, RECORDED * rows),
        _bulk(postgresql, "update", UPDATED * rows, cached=rows),
        _bulk(postgresql, "insert", INSERTED * rows, cached=rows),
        *(_savepoints(title, each) for title, each in databases.items()),
    ]
    return Benchmark(
        operation="save",
        shows="time",
        contenders=[each for contenders, _ in parts for each in contenders],
        comparisons=[each for _, comparisons in parts for each in comparisons],
        close=postgresql.close,
    )


# -- saves, one by one ---------------------------------------------------------------------------------
def _saves(title: str, database: Database, rows: int) -> list[Part]:
    """Return the saves of each user, in autocommit and in a transaction each."""
    users, alias = database.users[:rows], database.alias
    parts = []
    for way, group, run in (
        ("autocommit", "in autocommit", partial(_save, users)),
        ("atomic", "in atomic, a transaction each", partial(_save_atomic, users, alias)),
    ):
        end = f"{way}_{title.lower()}"
        contender = partial(
            _contender, database, group=f"{title}, {group}", run=run, operations=rows, cached=rows
        )
        contenders = [contender(capture, f"{capture}_{end}") for capture in TITLES]
        handler, target = f"handler_{end}", SAVE_TARGET if way == "atomic" else None
        comparisons = [
            Comparison(subject=f"triggers_{end}", against=handler, kind="cost", target=target),
            Comparison(subject=f"signals_{end}", against=handler, kind="cost"),
            Comparison(subject=f"triggers_{end}", against=f"plain_{end}", kind="cost"),
            Comparison(subject=handler, against=f"plain_{end}", kind="cost"),
        ]
        if end == "atomic_postgresql":
            many = RECORDED * rows
            for name, said, then in (
                ("snapshot", "a snapshot held open", partial(database.hold_snapshot, many)),
                ("outage", "after an outage", partial(database.leave_unapplied, many)),
            ):
                contenders.append(
                    contender("triggers", f"{name}_{end}", title=f"warmer: triggers, {said}", then=then)
                )
                comparisons.append(
                    Comparison(subject=f"{name}_{end}", against=handler, kind="cost", target=SAVE_TARGET)
                )
        parts.append((contenders, comparisons))
    return parts


def _save(users: Sequence[CustomUser]) -> None:
    for user in users:
        user.activity += 1
        user.save()


def _save_atomic(users: Sequence[CustomUser], alias: str) -> None:
    for user in users:
        user.activity += 1
        with transaction.atomic(using=alias):
            user.save()


def _first_save(database: Database, waiting: int) -> Part:
    """Return one save, in a process that has seen nothing of what others changed during an outage."""
    contenders = [
        _contender(
            database,
            capture,
            f"{capture}_first",
            group="PostgreSQL, in atomic, the first save after an outage",
            run=partial(_save_atomic, database.users[:1], database.alias),
            operations=1,
            cached=1,
            then=partial(database.leave_unapplied, waiting),
        )
        for capture in ("triggers", "handler")
    ]
    return contenders, [Comparison(subject="triggers_first", against="handler_first", kind="difference")]


# -- many rows at once -----------------------------------------------------------------------------------
def _bulk(database: Database, what: str, count: int, *, cached: int) -> Part:
    """Return one statement that updates all users of a table, or inserts them into an empty one."""
    runs = {"update": partial(_update_all, database, count), "insert": partial(database.insert, count)}
    contenders = [
        _contender(
            database,
            capture,
            f"{capture}_{what}",
            group=f"PostgreSQL, one {what} of {count:,} rows",
            run=runs[what],
            operations=count,
            operation="row",
            cached=cached,
            rows=count if what == "update" else 0,
        )
        for capture in ("triggers", "plain")
    ]
    return contenders, [
        Comparison(subject=f"triggers_{what}", against=f"plain_{what}", kind="cost", target=BULK_TARGET)
    ]


def _update_all(database: Database, count: int) -> None:
    updated = CustomUser.objects.using(database.alias).update(activity=F("activity") + 1)
    if updated != count:
        raise AssertionError(f"{updated} of {count} users were updated")


# -- savepoints -------------------------------------------------------------------------------------------
def _savepoints(title: str, database: Database) -> Part:
    """Return one transaction with a savepoint for each user, and one with half as many."""
    most = len(database.users)
    names = [f"savepoints_{share}_{title.lower()}" for share in ("all", "half")]
    contenders = [
        _contender(
            database,
            "triggers",
            name,
            title=f"warmer: triggers, {count:,} savepoints",
            group=f"{title}, savepoints in one transaction, each with a save",
            run=partial(_save_in_savepoints, database.users[:count], database.alias),
            operations=1,
            operation="transaction",
            cached=count,
        )
        for name, count in zip(names, (most, most // 2), strict=True)
    ]
    return contenders, [Comparison(subject=names[0], against=names[1], kind="cost", target=TWICE_TARGET)]


def _save_in_savepoints(users: Sequence[CustomUser], alias: str) -> None:
    with transaction.atomic(using=alias):
        _save_atomic(users, alias)


def _contender(
    database: Database,
    capture: Capture,
    name: str,
    *,
    group: str,
    run: Callable[[], None],
    operations: int,
    cached: int,
    title: str = "",
    operation: str = "",
    rows: int | None = None,
    then: Callable[[], None] | None = None,
) -> Contender:
    return Contender(
        name=name,
        title=title or TITLES[capture],
        group=group,
        run=run,
        operations=operations,
        operation=operation,
        prepare=partial(database.prepare, capture, cached, rows=rows, then=then),
        verify=partial(database.verify, capture, cached),
        other_cpu=database.cpu,
    )
