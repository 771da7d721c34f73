"""Isolation, pipelines, lost and read-only connections: what PostgreSQL alone can show."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import pytest
from django.core.cache import cache
from django.db import DataError, connection, transaction
from django.test.utils import CaptureQueriesContext
from psycopg import sql

from tests.package.invalidation.capture import outsiders
from tests.package.invalidation.capture.outsiders import outsider
from tests.package.invalidation.capture.things import INSERT, Things, execute, fetch
from tests.package.invalidation.capture.world import World
from tests.support.others import in_thread
from tests.support.transactions import rolled_back
from warmer.invalidation import Relay, apply, records, triggers
from warmer.invalidation.records import fingerprint
from warmer.models import ChangeRecord

pytestmark = pytest.mark.usefixtures("db")


# -- statements -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "statement",
    [
        sql.SQL("UPDATE {} SET text = 'new'").format(sql.Identifier("myapp_thing")),
        sql.SQL("UPDATE myapp_thing SET text = 'new'"),
        b"UPDATE myapp_thing SET text = 'new'",
        "SELECT 1; UPDATE myapp_thing SET text = 'new'",
    ],
    ids=["composed", "sql", "bytes", "several"],
)
def test_wrapper__takes_every_kind_of_statement(known: Things, statement: Any) -> None:
    known.model.objects.create(owner=1)
    assert known.gone_by(execute, statement) == {1}
    known.warm()
    with transaction.atomic():
        execute(statement)
        assert known.gone() == set()
    assert known.gone() == {1}


@pytest.mark.parametrize("block", [nullcontext, transaction.atomic])
def test_pipeline__is_applied_when_it_is_committed(known: Things, block: Any) -> None:
    connection.ensure_connection()
    with connection.connection.pipeline(), block():
        execute(INSERT)
        known.model.objects.count()  # another statement, whose answer is waited for
        known.model.objects.create(owner=2)
        assert outsiders.fetch("SELECT count(*) FROM myapp_thing") == [(0,)]
        assert known.gone() == set()
    execute("SELECT 1")
    assert known.gone() == {1, 2}


def test_savepoints__between_which_another_thread_commits_are_all_applied(known: Things) -> None:
    """And a statement before whose end it does; it applies its own changes."""

    def commit_elsewhere() -> None:
        in_thread(lambda: known.model.objects.create(owner=2)).join()

    def commit_before_it_returns(execute: Any, *arguments: Any) -> Any:
        result = execute(*arguments)
        commit_elsewhere()
        return result

    with transaction.atomic():
        with connection.execute_wrapper(commit_before_it_returns):
            execute(INSERT)
        commit_elsewhere()
        with transaction.atomic():
            known.model.objects.create(owner=3)
    assert known.gone() == {1, 2, 3}


# -- isolation ------------------------------------------------------------------------------------------
@pytest.fixture
def serializable() -> Iterator[None]:
    """Make SERIALIZABLE the default of new sessions, as a role or a database may have it."""
    # Of this database: tests that run meanwhile have others, on the same server and with the same role.
    database = connection.ops.quote_name(connection.settings_dict["NAME"])
    execute(f"ALTER DATABASE {database} SET default_transaction_isolation = 'serializable'")
    connection.close()
    yield
    execute(f"ALTER DATABASE {database} RESET default_transaction_isolation")
    connection.close()


@contextmanager
def levels_of_our_statements() -> Iterator[set[str]]:
    """Collect the isolation levels in which statements on the records run.

    Whether the table exists, and may be written to, is read from the catalog, in whatever level.
    """
    found: set[str] = set()

    def look(execute: Any, statement: Any, *arguments: Any) -> Any:
        if re.search(rf'(FROM|INTO|UPDATE) "?{records.TABLE}"?', str(statement)):
            found.add(connection.connection.execute("SHOW transaction_isolation").fetchone()[0])
        return execute(statement, *arguments)

    with connection.execute_wrapper(look):
        yield found


@pytest.mark.parametrize("relayed", [False, True])
def test_records__are_read_marked_and_purged_in_read_committed(
    known: Things, serializable: None, relayed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warmer.invalidation.apply._next_purge", {})
    records.forget_tables()  # so that the order of the tests makes no difference
    if relayed:
        outsiders.run(INSERT)
    with levels_of_our_statements() as levels:
        Relay().poll() if relayed else execute(INSERT)
    assert known.gone() == {1}
    assert levels == {"read committed"}


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_transaction__of_a_snapshot_reads_what_it_changed_and_stores_nothing(world: World, level: str) -> None:
    cached = world.cached()
    with transaction.atomic():
        execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        execute("UPDATE myapp_label SET name = 'new' WHERE id = 1")
        assert world.jobs["labels"].get(1) == [[1, "new"], [4, None]]
        assert world.cached() == cached
    assert world.wrong() == {}


def test_transaction__stores_what_only_another_transaction_changed(known: Things) -> None:
    outsiders.run(INSERT)
    cache.clear()
    with transaction.atomic():
        execute("SELECT pg_current_xact_id()")  # it has a number, as if it had written something
        known.job.get(1)
    assert 1 not in known.gone()


def test_marks__are_not_waited_for_by_another_marker(known: Things) -> None:
    with outsider() as other:
        outsiders.run(INSERT, INSERT)
        locked, free = ChangeRecord.objects.order_by("pk").values_list("pk", flat=True)
        with other.transaction():
            other.execute(f"SELECT FROM {records.TABLE} WHERE id = {locked} FOR UPDATE")
            execute("SET lock_timeout = '1s'")
            try:
                records.mark([locked, free], using="default")
            finally:
                execute("RESET lock_timeout")
        assert ChangeRecord.objects.get(applied_by=fingerprint()).pk == free


def test_marks__are_not_waited_for_by_the_disk(known: Things) -> None:
    outsiders.run(INSERT)
    execute("SET synchronous_commit = 'on'")
    with transaction.atomic():
        records.mark(list(ChangeRecord.objects.values_list("pk", flat=True)), using="default")
        assert fetch("SHOW synchronous_commit") == [("off",)]
    assert fetch("SHOW synchronous_commit") == [("on",)]
    execute("RESET synchronous_commit")


def test_relay__is_one_at_a_time_and_remembers_what_it_applied_once_more(known: Things) -> None:
    """One of the same fingerprint: another process applies for another cache."""
    relay = Relay()
    lock = f"SELECT pg_advisory_xact_lock({int(fingerprint(), 16) - 2**63})"
    with outsider() as other:
        other.execute(INSERT)
        other.execute("UPDATE warmer_changerecord SET applied_at = now(), applied_by = 'another'")
        with other.transaction():
            other.execute(lock)
            assert (relay.poll(), known.gone()) == (0, set())
        assert (relay.poll(), known.gone()) == (1, {1})
        with other.transaction():
            other.execute(lock)
            assert relay.poll() == 0
        assert relay.poll() == 0


@pytest.fixture
def read_only() -> Iterator[None]:
    """As on a replica."""
    execute("SET default_transaction_read_only = on")
    records.forget_tables()
    yield
    execute("RESET default_transaction_read_only")
    records.forget_tables()


def test_database__that_is_read_only_keeps_no_records(read_only: None) -> None:
    assert not records.are_kept("default")
    assert (triggers.databases(), Relay().poll()) == ([], 0)


def test_relay__has_nothing_to_do_when_a_database_turns_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert records.are_kept("default")
    monkeypatch.setattr(apply, "_next_purge", {})  # the purge is due, and could delete nothing
    execute("SET default_transaction_read_only = on")
    try:
        assert Relay().poll() == 0
    finally:
        execute("RESET default_transaction_read_only")


def test_role__that_may_only_read_some_tables_is_no_problem_of_the_checks(known: Things) -> None:
    """It sees neither our rows nor which migrations were applied."""
    execute("SET ROLE pg_monitor")
    records.forget_tables()
    try:
        assert triggers.unrecorded() == []
    finally:
        execute("RESET ROLE")
        records.forget_tables()


# -- connections ----------------------------------------------------------------------------------------
def test_connection__that_is_lost_in_a_transaction_leaves_nothing_to_the_next(known: Things) -> None:
    with pytest.raises(Exception, match=r"terminating|closed"), transaction.atomic():
        known.model.objects.create(owner=1)
        outsiders.run(f"SELECT pg_terminate_backend({connection.connection.info.backend_pid})")
        known.model.objects.create(owner=1)
    connection.close()
    execute("RESET ALL")  # connects again
    known.warm()
    with transaction.atomic():
        known.model.objects.create(owner=2)
        assert known.gone() == set()
    assert known.gone() == {2}


def test_mark__does_not_read_applied_records_that_a_snapshot_keeps() -> None:
    execute("ANALYZE warmer_changerecord")  # as autovacuum does while nothing is pending
    with outsider() as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        outsiders.run(
            "INSERT INTO warmer_changerecord (source) SELECT '' FROM generate_series(1, 20000)",
            "UPDATE warmer_changerecord SET applied_at = now(), applied_by = 'another'",
            "INSERT INTO warmer_changerecord (source) VALUES ('')",
        )
        newest = ChangeRecord.objects.latest("pk").pk
        with CaptureQueriesContext(connection) as queries, transaction.atomic():
            records.mark([newest], using="default")
            transaction.set_rollback(True)
        (mark,) = [each["sql"] for each in queries if "UPDATE" in each["sql"]]
        (_, update) = mark.split("; ")
        ((plan,),) = fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {update}")
    assert plan[0]["Plan"]["Shared Hit Blocks"] < 100


def test_hit__in_a_transaction_that_failed_gives_what_is_cached(known: Things) -> None:
    assert records.are_kept("default")
    cache.set(known.job.key(1), "kept")
    with rolled_back():
        execute(INSERT)
        with suppress(DataError):
            execute("SELECT 1 / 0")
        assert known.job.get(1) == "kept"
    assert known.job.get(1) == "kept"
