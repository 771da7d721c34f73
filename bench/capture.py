"""The databases of the benchmark of saves: what stands in them before a turn, and who captures changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from django.conf import settings
from django.core.cache import cache
from django.db import connections
from django.db.models.signals import post_save, pre_delete, pre_save

from bench.profiles import FIELDS, create_users, declare_job, key_of
from users.models import CustomUser
from warmer.invalidation import Relay, receivers, records, triggers
from warmer.invalidation.apply import MOST_PAGES
from warmer.invalidation.sources import sources
from warmer.invalidation.transactions import watcher
from warmer.models import ChangeRecord

Capture = Literal["plain", "handler", "signals", "triggers"]

HANDLER = "bench.delete_profile"
TABLE = CustomUser._meta.db_table
# Ids of users who are not in the table: changes of theirs concern no key that anybody saves here.
STRANGERS = 10_000_000
INSERT = f"""
INSERT INTO {TABLE} (id, username, email, first_name, last_name, location, bio, activity, date_joined,
    password, is_active, is_staff, is_superuser)
SELECT n, 'user' || n, 'user' || n || '@example.com', 'Ada', 'Lovelace-' || n, 'London',
    repeat('Writes about old maps, the people who drew them and what they left out. ', n %% 4),
    n %% 1000, now(), '!', true, false, false
FROM generate_series(1, %s) n
"""
RECORD = f"""
INSERT INTO {records.TABLE} (source, rows)
SELECT %s, json_build_array(json_build_object('id', (n + {STRANGERS})::text))::text
FROM generate_series(1, %s) n
"""


def declare_databases(count: int) -> dict[str, Database]:
    """Declare the job, with `fields` as in the project; return SQLite and PostgreSQL with so many users."""
    job = declare_job(fields={CustomUser: [*FIELDS, "is_active"]})
    return {
        title: Database(alias, job, count)
        for title, alias in (("SQLite", "default"), ("PostgreSQL", "postgresql"))
    }


class Database:
    """A database with users 1, 2, 3, ..., all of whom have a profile.

    Attributes:
        users: the users, as model objects that are saved here.
    """

    def __init__(self, alias: str, job: Any, count: int) -> None:
        self.alias = alias
        self._job = job
        self._connection: Any = connections[alias]
        self._watcher = watcher(alias)
        self._snapshot: Any = None
        self._mute()
        if self._is_postgresql:
            self._fill(count)
        else:
            create_users(count)
        self.users = list(CustomUser.objects.using(alias).order_by("id"))

    @property
    def _is_postgresql(self) -> bool:
        return bool(self._connection.vendor == "postgresql")

    # -- a turn --------------------------------------------------------------------------------------
    def prepare(
        self,
        capture: Capture,
        cached: int,
        *,
        rows: int | None = None,
        then: Callable[[], None] | None = None,
    ) -> None:
        """Make the database as new, cache the first profiles, and have changes captured in one way.

        Args:
            cached: how many profiles.
            rows: how many users PostgreSQL's table has; default: all of `users`.
            then: called at the end.
        """
        self.close()
        self._mute()
        self._fill(len(self.users) if rows is None else rows)
        self._switch(capture)
        if rows != 0:
            # Not measured: the first save on a connection plans and compiles what the others find.
            self.users[-1].save()
        # Every change finds its key cached, and a fence that a fill has used.
        self._job.warm(range(1, cached + 1))
        with self._watcher.quiet():
            if then is not None:
                then()
            self._highest = records.highest(using=self.alias)

    def verify(self, capture: Capture, cached: int) -> None:
        """See that the changes were applied: at once, or where they concern every key by a worker's relay."""
        if capture == "triggers":
            left = list(ChangeRecord.objects.using(self.alias).filter(pk__gt=self._highest, applied_at=None))
            made = records.highest(using=self.alias) - self._highest
            # Of more than these a process applies the newest, and a worker the rest.
            if made <= MOST_PAGES * records.PAGE and any(each.rows is not None for each in left):
                raise AssertionError(f"{len(left)} changes were recorded and not applied")
            if left:
                Relay().poll()
        found = len(cache.get_many([key_of(id) for id in range(1, cached + 1)]))
        if found != (cached if capture == "plain" else 0):
            raise AssertionError(f"{found} of {cached} profiles are still cached")

    def cpu(self) -> float:
        """Return the processor time of PostgreSQL's process for this session (Linux; 0 elsewhere)."""
        if not self._is_postgresql:
            return 0.0
        times = Path(f"/proc/{self._connection.connection.info.backend_pid}/schedstat")
        return int(times.read_text().split()[0]) / 1e9 if times.exists() else 0.0

    def close(self) -> None:
        """Let go of the snapshot."""
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None

    # -- what is there before a turn -------------------------------------------------------------------
    def leave_unapplied(self, count: int) -> None:
        """Record changes that other processes made during an outage, and that nobody has applied."""
        with self._connection.cursor() as cursor:
            cursor.execute(RECORD, [next(iter(sources().by_name)), count])

    def hold_snapshot(self, count: int) -> None:
        """Have another session hold a snapshot open, since before so many changes were applied."""
        self._snapshot = self._connection.get_new_connection(self._connection.get_connection_params())
        self._snapshot.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        self._snapshot.execute("SELECT 1")
        self.leave_unapplied(count)
        with self._connection.cursor() as cursor:
            cursor.execute(f"UPDATE {records.TABLE} SET applied_at = now(), applied_by = 'bench'")

    def insert(self, count: int) -> None:
        """Insert users by one statement."""
        with self._connection.cursor() as cursor:
            cursor.execute(INSERT, [count])
            if cursor.rowcount != count:
                raise AssertionError(f"{cursor.rowcount} of {count} users were inserted")

    def _fill(self, rows: int) -> None:
        """Empty the records, and have so many users; SQLite keeps those that it has."""
        with self._watcher.quiet():
            if not self._is_postgresql:
                with self._connection.cursor() as cursor:
                    cursor.execute(f"DELETE FROM {records.TABLE}")
                return
            with self._connection.cursor() as cursor:
                cursor.execute(f"TRUNCATE {TABLE}, {records.TABLE} CASCADE")
            self.insert(rows)

    # -- who captures changes ----------------------------------------------------------------------------
    def _switch(self, capture: Capture) -> None:
        if capture == "handler":
            post_save.connect(_delete_profile, sender=CustomUser, dispatch_uid=HANDLER)
        elif capture == "signals":
            settings.WARMER_CAPTURE = "signals"
            receivers.listen()
        elif capture == "triggers":
            settings.WARMER_CAPTURE = "triggers"
            with self._watcher.quiet():
                triggers.install(self.alias)
                if TABLE not in triggers.installed(self.alias):
                    raise AssertionError("there are no triggers")
            receivers.listen()
            self._connection.execute_wrappers.insert(0, self._watcher)

    def _mute(self) -> None:
        """Have nobody learn of a change."""
        for signal in (pre_save, post_save, pre_delete):
            for uid in (HANDLER, receivers.UID):
                signal.disconnect(sender=CustomUser, dispatch_uid=uid)
            if signal.has_listeners(CustomUser):
                raise AssertionError("somebody else still hears of changes")
        self._connection.ensure_connection()
        while self._watcher in self._connection.execute_wrappers:
            self._connection.execute_wrappers.remove(self._watcher)
        triggers.remove(self.alias)


def _delete_profile(sender: Any, instance: CustomUser, **_: Any) -> None:
    cache.delete(key_of(instance.pk))
