"""Installing beside writers, for a role without rights, after columns are gone: what PostgreSQL alone can show."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Barrier

import psycopg
import pytest
from django.core.cache import cache
from django.db import DatabaseError, connection, transaction

from embedded.waiting import wait_until
from tests.package.invalidation.capture import outsiders
from tests.package.invalidation.capture.outsiders import outsider
from tests.package.invalidation.capture.things import EVERY, INSERT, Things, execute, fetch, problem_of, things
from tests.support.fixtures import install_triggers
from tests.support.keyed import job
from tests.support.tables import OwnModel, tables_of
from warmer import jobs
from warmer.exceptions import TriggersRefused
from warmer.invalidation import triggers
from warmer.invalidation.trigger_sql import postgresql
from warmer.models import ChangeRecord

pytestmark = pytest.mark.usefixtures("db")


def function_of_things() -> str:
    """Return the name of the function that the triggers of the things call."""
    ours = "tgrelid = 'myapp_thing'::regclass AND NOT tgisinternal"
    ((function,),) = fetch(f"SELECT DISTINCT tgfoid::regproc::text FROM pg_trigger WHERE {ours}")
    return str(function)


# -- locks ----------------------------------------------------------------------------------------------
def test_install__that_has_to_wait_for_writers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "PREPARE", ["SET LOCAL lock_timeout = '200ms'"])
    with things(is_captured=False) as known, outsider() as other:
        with other.transaction():
            other.execute(INSERT)
            with pytest.raises(TriggersRefused, match=r"myapp_thing.*lock timeout"):
                install_triggers()
            known.model.objects.create(owner=2)  # signals tell of it
            assert known.gone() == {2}
        assert install_triggers() == ["myapp_thing"]
        assert fetch("SHOW lock_timeout") == [("0",)]


def test_install__of_another_definition_replaces_the_function_alone_while_writers_hold_the_table(known: Things) -> None:
    triggers_of = "SELECT oid FROM pg_trigger WHERE tgrelid = 'myapp_thing'::regclass ORDER BY oid"
    with outsider() as other:
        before = fetch(triggers_of)
        assert len(before) == 4
        forget_definition()
        with other.transaction():
            other.execute(INSERT)
            assert install_triggers() == ["myapp_thing"]
        assert fetch(triggers_of) == before
        assert known.relayed() == {1}


def test_prune__lets_go_of_a_table_before_it_waits_for_the_next_one(known: Things) -> None:
    """PostgreSQL resolves a deadlock by failing whoever notices it, which would be the writer."""

    class Another(OwnModel):
        pass

    waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'myapp_thing'::regclass"

    def prune() -> list[str]:
        try:
            return triggers.prune("default")
        finally:
            connection.close()

    with tables_of(Another), outsider() as other, ThreadPoolExecutor(1) as thread:
        job("another:{id}", {Another: "id"})
        install_triggers()
        for name in ("another", "things"):
            jobs.unregister(name)
        other.execute("SET deadlock_timeout = '1ms'")
        with other.transaction():
            other.execute(INSERT)
            pruned = thread.submit(prune)
            wait_until(lambda: bool(outsiders.fetch(waiting)) or pruned.done(), what="it waits for the things")
            other.execute("INSERT INTO myapp_another DEFAULT VALUES")
        assert pruned.result() == ["myapp_another", "myapp_thing"]


def forget_definition(comment: str = "NULL") -> None:
    """Make the function record what nobody knows."""
    outsiders.run(f"COMMENT ON FUNCTION {function_of_things()}() IS {comment}")


@pytest.mark.parametrize("comment", ["''", "'another'", "'warmer 1 of another'", "'warmer 1 [null]'"])
def test_install__over_a_comment_of_something_else(known: Things, comment: str) -> None:
    forget_definition(comment)
    assert "outdated" in problem_of().why
    assert install_triggers() == ["myapp_thing"]
    assert triggers.problems("default") == []


def test_install__by_three_at_once_succeeds(known: Things) -> None:
    barrier = Barrier(3)

    def run(_: int) -> None:
        try:
            barrier.wait()
            install_triggers()
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as threads:
        for _ in range(8):
            forget_definition()
            list(threads.map(run, range(3)))  # raises what one of them raised
    assert triggers.problems("default") == []


# -- privileges -----------------------------------------------------------------------------------------
@pytest.fixture
def role() -> Iterator[str]:
    """A role that owns nothing. Roles are the server's, which tests in other databases may use at once."""
    with outsider(dbname="postgres") as turn:
        turn.execute("SELECT pg_advisory_lock(1)")
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
            install_triggers()
        triggers.on_migrated(using="default")
        assert "myapp_thing" in caplog.text
        known.model.objects.create(owner=1)
        assert known.gone() == {1}
        assert "myapp_thing" in {each.table for each in triggers.problems("default")}
        execute("RESET ROLE")


@pytest.mark.parametrize("has_functions", [False, True])
def test_role__without_a_grant_on_our_table_writes_and_is_recorded(
    known: Things, role: str, has_functions: bool
) -> None:
    """Nor can it have its own functions run as the owner of the tables."""
    with outsider() as other:
        other.execute("GRANT INSERT ON myapp_thing TO poor; GRANT USAGE ON SEQUENCE myapp_thing_id_seq TO poor")
        other.execute("SET ROLE poor")
        if has_functions:
            other.execute(
                "CREATE FUNCTION poor.to_regclass(text) RETURNS regclass LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'called as %', current_user; END $$; "
                "SET search_path = poor, public, pg_catalog"
            )
        other.execute(INSERT)
        assert known.relayed() == {1}


CANNOT_WRITE = {
    "no_grant": ["ALTER FUNCTION public.{function}() OWNER TO poor"],
    "no_use_of_the_schema": [
        "GRANT CREATE ON SCHEMA public TO poor",
        "GRANT INSERT ON warmer_changerecord TO poor",
        "ALTER FUNCTION public.{function}() OWNER TO poor",
        "REVOKE ALL ON SCHEMA public FROM poor, PUBLIC",
    ],
    "moved": ["ALTER TABLE warmer_changerecord SET SCHEMA poor", "SET search_path = public, poor"],
}


@pytest.fixture
def _restored(known: Things, role: str) -> Iterator[None]:
    yield
    execute(
        "ALTER TABLE warmer_changerecord SET SCHEMA public",
        "RESET search_path",
        "GRANT USAGE ON SCHEMA public TO PUBLIC",
    )


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize("statements", CANNOT_WRITE.values(), ids=CANNOT_WRITE)
def test_function__that_cannot_write_to_our_table_lets_writes_succeed_and_is_a_problem(
    known: Things, statements: list[str]
) -> None:
    """As when a DBA gives all tables, but no functions, to another owner, or moves tables to another schema."""
    function = function_of_things()
    execute(*(each.format(function=function) for each in statements))
    triggers.forget_installed()
    outsiders.run(INSERT)
    assert known.relayed() == set()
    assert problem_of("myapp_thing").why == "has triggers that cannot write to warmer_changerecord"
    known.model.objects.create(owner=2)  # signals tell of it
    assert known.gone() == {2}
    assert "myapp_thing" in triggers.catch_up("default")
    assert (known.gone(), triggers.problems("default")) == (EVERY, [])
    known.warm()
    outsiders.run(INSERT)
    assert known.relayed() == {1}


@pytest.mark.usefixtures("_restored")
def test_tables__that_move_to_another_schema_with_ours_are_captured_again(known: Things) -> None:
    execute("ALTER TABLE myapp_thing SET SCHEMA poor", *CANNOT_WRITE["moved"])
    try:
        assert "myapp_thing" in install_triggers()
        outsiders.run(INSERT.replace("myapp_thing", "poor.myapp_thing"))
        assert (known.relayed(), triggers.problems("default")) == ({1}, [])
    finally:
        execute("ALTER TABLE poor.myapp_thing SET SCHEMA public")


def test_role__without_a_grant_cannot_have_its_own_table_write_records(known: Things, role: str) -> None:
    with outsider() as other:
        function = function_of_things()
        other.execute("SET ROLE poor; CREATE TABLE poor.own (owner int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.execute(
                "CREATE TRIGGER forged AFTER INSERT ON poor.own REFERENCING NEW TABLE AS warmer_new "
                f"FOR EACH STATEMENT EXECUTE FUNCTION public.{function}()"
            )


# -- what stays uncovered, as docs/guarantees.md names it ------------------------------------------------------
@pytest.fixture
def writer(known: Things, role: str) -> None:
    execute("GRANT ALL ON myapp_thing TO poor", "GRANT USAGE ON SEQUENCE myapp_thing_id_seq TO poor")


@pytest.mark.parametrize("level", ["ENABLE", "FORCE"])
def test_row_security__on_our_table_hides_records_or_makes_writes_fail(known: Things, writer: None, level: str) -> None:
    function = function_of_things()
    execute("GRANT SELECT, INSERT, UPDATE ON warmer_changerecord TO poor")
    if level == "FORCE":
        # A superuser bypasses it.
        execute(f"ALTER FUNCTION public.{function}() OWNER TO poor", "ALTER TABLE warmer_changerecord OWNER TO poor")
    try:
        execute("ALTER TABLE warmer_changerecord ENABLE ROW LEVEL SECURITY")
        execute(f"ALTER TABLE warmer_changerecord {level} ROW LEVEL SECURITY", "SET ROLE poor")
        with pytest.raises(DatabaseError, match="row-level") if level == "FORCE" else nullcontext():
            execute(INSERT)
        assert (known.relayed(), triggers.problems("default")) == (set(), [])
    finally:
        execute("RESET ROLE", "ALTER TABLE warmer_changerecord OWNER TO CURRENT_USER")
        execute("ALTER TABLE warmer_changerecord NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY")
        execute(f"ALTER FUNCTION public.{function}() OWNER TO CURRENT_USER")


def test_role__that_may_not_read_our_table_leaves_changes_to_a_worker_and_its_misses_fail(
    known: Things, writer: None
) -> None:
    execute("SET ROLE poor", INSERT)
    cache.clear()
    with pytest.raises(DatabaseError, match="denied"), transaction.atomic():
        known.job.get(1)
    execute("RESET ROLE")
    known.warm()
    assert known.relayed() == {1}


# -- columns that are gone -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("statement", "row"),
    [
        ("ALTER TABLE myapp_thing RENAME owner TO boss", {"boss": "1", "text": ""}),
        # `text` is what another release asked for.
        ("ALTER TABLE myapp_thing DROP text", {"owner": "1"}),
    ],
    ids=["renamed", "dropped"],
)
def test_column__that_is_gone_makes_triggers_outdated_and_not_every_key_for_good(
    known: Things, statement: str, row: dict[str, str]
) -> None:
    job("wider:{id}", {known.model: "text"})
    assert install_triggers() == ["myapp_thing"]
    jobs.unregister("wider")
    execute(statement)
    known.model._meta.get_field("owner").column = next(iter(row))
    jobs.version += 1  # the process is another one
    triggers.forget_installed()
    assert "outdated" in problem_of().why
    assert triggers.catch_up("default") == ["myapp_thing"]
    assert (known.gone(), triggers.problems("default")) == (EVERY, [])
    known.warm()
    ChangeRecord.objects.all().delete()
    values = ", ".join(f"'{value}'" for value in row.values())
    outsiders.run(f"INSERT INTO myapp_thing ({', '.join(row)}) VALUES ({values})")
    assert json.loads(ChangeRecord.objects.get().rows or "null") == [row]
    assert known.relayed() == {1}
