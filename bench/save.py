"""Saving users: what capturing a change adds, against the usual handler with one `cache.delete`.

SQLite and PostgreSQL both wait for the disk at each commit. Each way to capture has its own process and
database. PostgreSQL also has three harder cases: a snapshot that keeps dead rows, a backlog after an outage,
and statements that change many rows. Such a statement sends no signal, so triggers are compared with no
invalidation at all.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from io import StringIO
from typing import Any

import psycopg
from django.apps import apps
from django.core.cache import cache
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F, Model
from django.db.models.signals import post_save
from django.utils import timezone

from bench.data import create_users, empty_cache, key_of
from bench.measure import Row, Table, cost
from bench.site import Site, Worker, create_tables, database_version
from embedded.postgres_server import PostgresServer
from users.models import CustomUser
from users.warming import user_profiles

if apps.is_installed("warmer"):
    from warmer.invalidation.records import fingerprint
    from warmer.models import ChangeRecord

# The rows that a statement changes, and the pending changes after an outage, per row of the benchmark.
UPDATED, INSERTED, WAITING = 100, 800, 100
TRIGGERS, SIGNALS = "warmer: triggers", "warmer: signals"
HANDLER, PLAIN = "post_save handler: cache.delete", "no invalidation at all"
CAPTURES = {
    TRIGGERS: {"WARMER_CAPTURE": "triggers"},
    SIGNALS: {"WARMER_CAPTURE": "signals"},
    HANDLER: {"BENCH_WITHOUT_WARMER": "1"},
    PLAIN: {"BENCH_WITHOUT_WARMER": "1"},
}
SAVE_TARGET, BULK_TARGET = 1.5, 2.0

# A commit waits for the disk, as in production.
DURABLE_POSTGRESQL = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
DURABLE_SQLITE = "init_command=PRAGMA%20journal_mode%3DWAL%3B%20PRAGMA%20synchronous%3DFULL%3B"

TABLE = CustomUser._meta.db_table
INSERT = f"""
INSERT INTO {TABLE} (id, username, email, first_name, last_name, location, bio, activity, date_joined,
    password, is_active, is_staff, is_superuser)
SELECT n, 'user' || n, 'user' || n || '@example.com', 'Ada', 'Lovelace-' || n, 'London',
    repeat('Writes about old maps, the people who drew them and what they left out. ', n %% 4),
    n %% 1000, now(), '!', true, false, false
FROM generate_series(1, %s) n
"""
# One statement per change, as by other programs.
UPDATE_OTHERS = f"""
DO $$ BEGIN FOR n IN 1..{{count}} LOOP
    UPDATE {TABLE} SET activity = activity + 1 WHERE id = {{first}} + n % {{users}};
END LOOP; END $$
"""


def save(rows: int, site: Site) -> list[Table[Row]]:
    postgres = site.enter_context(PostgresServer(options=DURABLE_POSTGRESQL))
    begun = []
    workers: dict[str, dict[str, Worker]] = {"SQLite": {}, "PostgreSQL": {}}
    for number, capture in enumerate(CAPTURES):
        for database, url in (
            ("SQLite", f"sqlite:///{site.folder / f'save{number}.sqlite3'}?{DURABLE_SQLITE}"),
            ("PostgreSQL", postgres.create_database(f"save{number}")),
        ):
            worker = site.enter_context(Worker(DATABASE_URL=url, **CAPTURES[capture]))
            workers[database][capture] = worker
            begun.append((worker, worker.tell(begin, capture)))
    site.databases = {name: text for worker, each in begun for name, text in worker.answer(each).items()}
    cases = {"a snapshot held open": hold_snapshot, "after an outage": change_others}
    hard = {what: partial(function, rows, WAITING * rows) for what, function in cases.items()}

    def row(
        database: str, capture: str, users: int, *, title="", before=int, needs_relay=False, **work
    ) -> Row:
        """Return a row in a process of its own, where the first of the users have cached profiles."""
        worker, expected = workers[database][capture], rows if capture == PLAIN else 0
        return worker.row(
            title=title or capture,
            prepare=partial(worker.ask, renew, users, rows, before),
            verify=lambda _: worker.ask(verify, expected, rows, needs_relay),
            **work,
        )

    def saves(database: str, way: str, function: Callable[[int], None], target=None, hard=()) -> Table[Row]:
        """Return a save of each user with each way to capture changes, and with triggers in harder cases."""
        save_all = partial(row, database, users=2 * rows, function=partial(function, rows), operations=rows)
        plain, handler = cost(other=PLAIN), cost(other=HANDLER, target=target)
        versus = {TRIGGERS: [handler, plain], SIGNALS: [cost(other=HANDLER)], HANDLER: [plain], PLAIN: []}
        made = [save_all(capture, versus=versus[capture]) for capture in CAPTURES]
        for what in hard:
            more = {"title": f"{TRIGGERS}, {what}", "before": hard[what], "needs_relay": True}
            made.append(save_all(TRIGGERS, versus=[handler], **more))
        return Table(title=f"{database}, {way}", operation="save", rows=made)

    def bulk(what: str, function: Callable[[int], None], changed: int, users: int) -> Table[Row]:
        """Return one statement that changes many rows."""
        work = {"function": partial(function, changed), "operations": changed, "needs_relay": True}
        ways = {TRIGGERS: [cost(other=PLAIN, target=BULK_TARGET)], PLAIN: []}
        made = [row("PostgreSQL", way, users, versus=versus, **work) for way, versus in ways.items()]
        return Table(title=f"PostgreSQL, one {what} of {changed:,} rows", operation="row", rows=made)

    in_autocommit, in_atomic = "in autocommit", "in atomic, a transaction each"
    return [
        saves("SQLite", in_autocommit, save_users),
        saves("SQLite", in_atomic, save_in_atomic, SAVE_TARGET),
        saves("PostgreSQL", in_autocommit, save_users),
        saves("PostgreSQL", in_atomic, save_in_atomic, SAVE_TARGET, hard),
        bulk("update", update_all, UPDATED * rows, users=UPDATED * rows),
        bulk("insert", insert, INSERTED * rows, users=0),
    ]


# -- what a process does ---------------------------------------------------------------------------
users: list[CustomUser] = []
other_sessions = ExitStack()


def begin(capture: str) -> dict[str, str]:
    """Create the tables; return the version of the database."""
    if capture == HANDLER:
        post_save.connect(delete_profile, sender=CustomUser)
    create_tables()
    return database_version()


def delete_profile(sender: Any, instance: CustomUser, **_: Any) -> None:
    cache.delete(key_of(instance.pk))


def renew(count: int, cached: int, before: Callable[[], object]) -> None:
    """Recreate the users, and cache the first profiles."""
    other_sessions.close()
    empty_cache()
    empty(CustomUser)
    if connection.vendor == "postgresql":
        insert(count)
    else:
        create_users(count)
    users[:] = CustomUser.objects.order_by("id")[: cached + 1]
    if users:
        users[-1].save()  # the first save on a connection plans and compiles its statements
    if apps.is_installed("warmer"):
        apply_waiting()
        empty(ChangeRecord)
        user_profiles.warm(
            range(1, cached + 1)
        )  # as on a running site, where fills have taken tokens of the fence
    cache.set_many({key_of(id): "old" for id in range(1, cached + 1)})
    before()


def verify(expected: int, cached: int, needs_relay: bool) -> None:
    if needs_relay and apps.is_installed("warmer"):
        apply_waiting()
    found = len(cache.get_many([key_of(id) for id in range(1, cached + 1)]))
    if found != expected:
        raise AssertionError(f"{found} of {cached} profiles are still cached, not {expected}")


def apply_waiting() -> None:
    """Apply the pending changes, as a worker does within a second."""
    call_command("warm_listen", once=True, stdout=StringIO())


def empty(model: type[Model]) -> None:
    table = model._meta.db_table
    with connection.cursor() as cursor:
        is_postgresql = connection.vendor == "postgresql"
        cursor.execute(f"TRUNCATE {table} CASCADE" if is_postgresql else f"DELETE FROM {table}")


def change_others(saved: int, count: int) -> None:
    """Change users other than the saved ones, as by another program; nothing applies these changes."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as other:
        other.execute(UPDATE_OTHERS.format(count=count, first=saved + 1, users=saved))


def hold_snapshot(saved: int, count: int) -> None:
    """Hold a snapshot open in another session, then apply this many changes."""
    other = other_sessions.enter_context(psycopg.connect(os.environ["DATABASE_URL"]))
    other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    other.execute("SELECT 1")
    change_others(saved, count)
    ChangeRecord.objects.update(applied_at=timezone.now(), applied_by=fingerprint())


def save_users(count: int) -> None:
    for user in users[:count]:
        user.activity += 1
        user.save()


def save_in_atomic(count: int) -> None:
    for user in users[:count]:
        user.activity += 1
        with transaction.atomic():
            user.save()


def update_all(count: int) -> None:
    if (updated := CustomUser.objects.update(activity=F("activity") + 1)) != count:
        raise AssertionError(f"{updated} of {count} users were updated")


def insert(count: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [count])
        if cursor.rowcount != count:
            raise AssertionError(f"{cursor.rowcount} of {count} users were inserted")
