"""Isolation, locks, privileges and pipelines: what PostgreSQL alone can show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Barrier, Thread
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from psycopg import sql

from tests.package.invalidation.capture import outsiders
from tests.package.invalidation.capture.outsiders import outsider
from tests.package.invalidation.capture.things import Things, execute, fetch, install, things
from tests.package.invalidation.capture.world import World
from warmer.exceptions import TriggersRefused
from warmer.invalidation import Relay, databases, records, triggers
from warmer.invalidation.records import fingerprint
from warmer.invalidation.triggers import postgresql
from warmer.models import ChangeRecord

pytestmark = pytest.mark.usefixtures("db")

INSERT = "INSERT INTO myapp_thing (owner, text) VALUES (1, '')"
FUNCTION = (
    "SELECT tgfoid::regproc::text FROM pg_trigger "
    "WHERE tgrelid = 'myapp_thing'::regclass AND NOT tgisinternal"
)


# -- statements -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "statement",
    [
        sql.SQL("UPDATE {} SET text = 'new'").format(sql.Identifier("myapp_thing")),
        sql.SQL("UPDATE myapp_thing SET text = 'new'"),
        b"UPDATE myapp_thing SET text = 'new'",
    ],
    ids=["composed", "sql", "bytes"],
)
def test_wrapper__takes_every_kind_of_statement(statement: Any) -> None:
    with things() as known:
        known.model.objects.create(owner=1)
        known.warm()
        execute(statement)
        assert known.gone() == {1}
        known.warm()
        with transaction.atomic():
            execute(statement)
            assert known.gone() == set()
        assert known.gone() == {1}


@pytest.mark.parametrize("block", [nullcontext, transaction.atomic])
def test_pipeline__is_applied_when_it_is_committed(block: Any) -> None:
    with things() as known:
        connection.ensure_connection()
        with connection.connection.pipeline(), block():
            execute(INSERT)
            known.model.objects.count()  # another statement, whose answer is waited for
            known.model.objects.create(owner=2)
            assert outsiders.fetch("SELECT count(*) FROM myapp_thing") == [(0,)]
            assert known.gone() == set()
        execute("SELECT 1")
        assert known.gone() == {1, 2}


def test_savepoints__between_which_another_thread_commits_are_all_applied() -> None:
    def commit_elsewhere() -> None:
        known.model.objects.create(owner=2)
        connection.close()

    with things() as known:
        with transaction.atomic():
            with transaction.atomic():
                execute(INSERT)
            thread = Thread(target=commit_elsewhere)
            thread.start()
            thread.join()
            with transaction.atomic():
                known.model.objects.create(owner=3)
        assert known.gone() == {1, 2, 3}


# -- isolation ------------------------------------------------------------------------------------------
@pytest.fixture
def serializable() -> Iterator[None]:
    """Sessions of which the default is SERIALIZABLE, as a role or a database may have it."""
    execute("ALTER ROLE CURRENT_USER SET default_transaction_isolation = 'serializable'")
    connection.close()
    yield
    execute("ALTER ROLE CURRENT_USER RESET default_transaction_isolation")
    connection.close()


@contextmanager
def levels_of_our_statements() -> Iterator[set[str]]:
    """Collect in which isolation levels statements on the records run."""
    found: set[str] = set()

    def look(execute: Any, statement: Any, *arguments: Any) -> Any:
        if databases.TABLE in str(statement):
            found.add(connection.connection.execute("SHOW transaction_isolation").fetchone()[0])
        return execute(statement, *arguments)

    with connection.execute_wrapper(look):
        yield found


@pytest.mark.parametrize("relayed", [False, True])
def test_records__are_read_marked_and_purged_in_read_committed(
    serializable: None, relayed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "_next_purge", {})
    with things() as known:
        if relayed:
            outsiders.run(INSERT)
        with levels_of_our_statements() as levels:
            Relay().poll() if relayed else execute(INSERT)
        assert known.gone() == {1}
        assert levels == {"read committed"}


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_transaction__of_a_snapshot_reads_what_it_changed_and_stores_nothing(
    world: World, level: str
) -> None:
    cached = world.cached()
    with transaction.atomic():
        execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        execute("UPDATE myapp_label SET name = 'new' WHERE id = 1")
        assert world.jobs["labels"].get(1) == [["new"]]
        assert world.cached() == cached
    assert world.wrong() == {}


def test_marks__are_not_waited_for_by_another_marker() -> None:
    with things(), outsider() as other:
        outsiders.run(INSERT, INSERT)
        locked, free = ChangeRecord.objects.order_by("pk").values_list("pk", flat=True)
        with other.transaction():
            other.execute(f"SELECT FROM {databases.TABLE} WHERE id = {locked} FOR UPDATE")
            execute("SET lock_timeout = '1s'")
            try:
                records.mark([locked, free], using="default")
            finally:
                execute("RESET lock_timeout")
        assert ChangeRecord.objects.get(applied_by=fingerprint()).pk == free


def test_marks__are_not_waited_for_by_the_disk() -> None:
    with things():
        outsiders.run(INSERT)
        execute("SET synchronous_commit = 'on'")
        with transaction.atomic():
            records.mark(list(ChangeRecord.objects.values_list("pk", flat=True)), using="default")
            assert fetch("SHOW synchronous_commit") == [("off",)]
        assert fetch("SHOW synchronous_commit") == [("on",)]
        execute("RESET synchronous_commit")


def test_relay__is_one_at_a_time() -> None:
    """Those of the same fingerprint: another process applies for another cache."""
    with things() as known, outsider() as other:
        other.execute(INSERT)
        number = int(fingerprint(), 16) - 2**63
        with other.transaction():
            other.execute(f"SELECT pg_advisory_xact_lock({number})")
            assert (Relay().poll(), known.gone()) == (0, set())
        assert (Relay().poll(), known.gone()) == (1, {1})


def test_relay__that_finds_another_at_work_remembers_what_it_applied_once_more() -> None:
    relay = Relay()
    with things() as known, outsider() as other:
        other.execute(INSERT)
        other.execute("UPDATE warmer_changerecord SET applied_at = now(), applied_by = 'another'")
        assert (relay.poll(), known.gone()) == (1, {1})
        with other.transaction():
            other.execute(f"SELECT pg_advisory_xact_lock({int(fingerprint(), 16) - 2**63})")
            assert relay.poll() == 0
        assert relay.poll() == 0


# -- locks ----------------------------------------------------------------------------------------------
def test_install__that_has_to_wait_for_writers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "LOCK_TIMEOUT", "200ms")
    with things(is_captured=False) as known, outsider() as other:
        with other.transaction():
            other.execute(INSERT)
            with pytest.raises(TriggersRefused, match=r"myapp_thing.*lock timeout"):
                install()
            known.model.objects.create(owner=2)  # signals tell of it
            assert known.gone() == {2}
        assert install() == ["myapp_thing"]
        assert fetch("SHOW lock_timeout") == [("0",)]


def test_install__of_another_definition_replaces_the_function_alone_while_writers_hold_the_table() -> None:
    triggers_of = "SELECT oid FROM pg_trigger WHERE tgrelid = 'myapp_thing'::regclass ORDER BY oid"
    with things() as known, outsider() as other:
        before = fetch(triggers_of)
        assert len(before) == 4
        forget_definition()
        with other.transaction():
            other.execute(INSERT)
            assert install() == ["myapp_thing"]
        assert fetch(triggers_of) == before
        Relay().poll()
        assert known.gone() == {1}


def forget_definition() -> None:
    """Make the function one of which it is not known what it records."""
    ((function, *_), *_) = fetch(FUNCTION)
    outsiders.run(f"COMMENT ON FUNCTION {function}() IS NULL")


def test_install__by_three_at_once_succeeds() -> None:
    failed: list[Exception] = []
    barrier = Barrier(3)

    def run() -> None:
        try:
            barrier.wait()
            install()
        except Exception as error:  # noqa: BLE001 - it is what is asserted
            failed.append(error)
        finally:
            connection.close()

    with things():
        for _ in range(8):
            forget_definition()
            threads = [Thread(target=run) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert failed == []
        assert triggers.problems("default") == []


def test_install__turns_on_a_trigger_that_is_disabled() -> None:
    with things() as known:
        execute("ALTER TABLE myapp_thing DISABLE TRIGGER warmer_update")
        (problem,) = triggers.problems("default")
        assert "update" in problem.why
        assert install() == ["myapp_thing"]
        outsiders.run(INSERT, "UPDATE myapp_thing SET owner = 2")
        Relay().poll()
        assert known.gone() == {1, 2}


# -- privileges -----------------------------------------------------------------------------------------
@pytest.fixture
def role() -> Iterator[str]:
    """A role that owns nothing."""
    execute("CREATE ROLE poor", "CREATE SCHEMA poor AUTHORIZATION poor")
    yield "poor"
    execute("RESET ROLE", "DROP OWNED BY poor CASCADE", "DROP ROLE poor")


def test_role__that_does_not_own_a_table_is_refused_and_signals_tell(
    role: str, caplog: pytest.LogCaptureFixture
) -> None:
    with things(is_captured=False) as known:
        execute(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO poor",
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO poor",
            "SET ROLE poor",
        )
        with pytest.raises(TriggersRefused, match=r"myapp_thing.*denied"):
            install()
        triggers.on_migrated(using="default")
        assert "myapp_thing" in caplog.text
        known.model.objects.create(owner=1)
        assert known.gone() == {1}
        assert "myapp_thing" in {each.table for each in triggers.problems("default")}
        execute("RESET ROLE")


def test_role__without_a_grant_on_our_table_writes_and_is_recorded(role: str) -> None:
    with things() as known, outsider() as other:
        other.execute(
            "GRANT INSERT ON myapp_thing TO poor; GRANT USAGE ON SEQUENCE myapp_thing_id_seq TO poor"
        )
        other.execute("SET ROLE poor")
        other.execute(INSERT)
        Relay().poll()
        assert known.gone() == {1}


def test_role__without_a_grant_cannot_have_its_own_table_write_records(role: str) -> None:
    with things(), outsider() as other:
        ((function, *_), *_) = fetch(FUNCTION)
        other.execute("SET ROLE poor; CREATE TABLE poor.own (owner int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.execute(
                "CREATE TRIGGER forged AFTER INSERT ON poor.own REFERENCING NEW TABLE AS warmer_new "
                f"FOR EACH STATEMENT EXECUTE FUNCTION public.{function}()"
            )


# -- connections ----------------------------------------------------------------------------------------
def test_connection__that_is_lost_in_a_transaction_leaves_nothing_to_the_next() -> None:
    with things() as known:
        kill_in_a_transaction(known)
        execute("RESET ALL")  # connects again
        known.warm()
        with transaction.atomic():
            known.model.objects.create(owner=2)
            assert known.gone() == set()
        assert known.gone() == {2}


def kill_in_a_transaction(known: Things) -> None:
    with pytest.raises(Exception, match=r"terminating|closed"), transaction.atomic():
        known.model.objects.create(owner=1)
        outsiders.run(f"SELECT pg_terminate_backend({connection.connection.info.backend_pid})")
        known.model.objects.create(owner=1)
    connection.close()
