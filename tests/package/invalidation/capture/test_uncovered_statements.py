"""What no statement of this process tells, as `docs/guarantees.md` names it: a worker applies it."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from django.core.cache import cache
from django.db import DatabaseError, connection, transaction

from tests.package.invalidation.capture import outsiders
from tests.package.invalidation.capture.things import IDS, INSERT, Things, execute
from tests.support.transactions import managed_by_hand, rolled_back

pytestmark = pytest.mark.usefixtures("db")

ANY, POSTGRESQL, SQLITE = ("postgresql", "sqlite"), ("postgresql",), ("sqlite",)


def _in_function(call: Callable[[Any], None]) -> Callable[[], None]:
    def change() -> None:
        outsiders.run(
            "CREATE OR REPLACE FUNCTION add_one() RETURNS void LANGUAGE sql AS "
            "$$ INSERT INTO myapp_thing (owner, text) VALUES (1, '') $$",
            "CREATE OR REPLACE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN PERFORM add_one(); END $$",
        )
        with connection.cursor() as cursor:
            call(cursor)

    return change


def _copy() -> None:
    with connection.cursor() as cursor, cursor.copy("COPY myapp_thing (owner, text) FROM STDIN") as rows:
        rows.write_row((1, ""))


def _failed_executemany() -> None:
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.executemany("INSERT INTO myapp_thing (id, owner, text) VALUES (%s, 1, '')", [(1,), (1,)])


def _named_in_the_middle() -> None:
    padding = "/* as behind a long list of values */" * 60
    execute(f"{padding} INSERT INTO myapp_thing (owner, text) {padding} SELECT 1, ''")


def _pipeline() -> None:
    with connection.connection.pipeline():
        execute(INSERT)


def _by_hand() -> None:
    with managed_by_hand():
        execute(INSERT)
        transaction.commit()


UNKNOWN: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "callproc": (_in_function(lambda cursor: cursor.callproc("add_one")), POSTGRESQL),
    "function": (_in_function(lambda cursor: cursor.execute("SELECT add_one()")), POSTGRESQL),
    "procedure": (_in_function(lambda cursor: cursor.execute("CALL p()")), POSTGRESQL),
    "copy": (_copy, POSTGRESQL),
    "pipeline": (_pipeline, POSTGRESQL),
    "executescript": (lambda: connection.cursor().executescript(INSERT), SQLITE),
    "failed_executemany": (_failed_executemany, SQLITE),
    "named_in_the_middle": (_named_in_the_middle, ANY),
    "returning": (lambda: execute(f"{INSERT} RETURNING id"), SQLITE),
    "past_django": (lambda: connection.connection.execute(INSERT), ANY),
    "managed_by_hand": (_by_hand, ANY),
}


@pytest.mark.parametrize("name", [name for name, (_, on) in UNKNOWN.items() if connection.vendor in on])
def test_change__is_left_to_a_worker(name: str, known: Things) -> None:
    UNKNOWN[name][0]()
    assert known.gone() == set()
    assert known.relayed() == {1}


CAUSES: dict[str, tuple[str, tuple[str, ...]]] = {
    "cascade": ("DELETE FROM causes", ANY),
    "truncate": ("TRUNCATE causes CASCADE", POSTGRESQL),
    "deferred_trigger": ("UPDATE causes SET id = 2", POSTGRESQL),
}


@pytest.mark.parametrize("name", [name for name, (_, on) in CAUSES.items() if connection.vendor in on])
@pytest.mark.parametrize("block", [nullcontext, transaction.atomic])
def test_change__that_a_statement_causes_in_another_table_is_left_to_a_worker(
    name: str, block: Any, known: Things
) -> None:
    execute(
        "CREATE TABLE causes (id int PRIMARY KEY)",
        "INSERT INTO causes VALUES (1)",
        "ALTER TABLE myapp_thing ADD cause int REFERENCES causes ON DELETE CASCADE ON UPDATE SET NULL",
        INSERT,
        "UPDATE myapp_thing SET cause = 1",
    )
    if connection.vendor == "postgresql":
        execute(
            "CREATE OR REPLACE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN DELETE FROM myapp_thing; RETURN NULL; END $$",
            "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON causes DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION late()",
        )
    try:
        known.warm()
        with block():
            execute(CAUSES[name][0])
        assert known.gone() == set()
        assert known.relayed() == (set(IDS) if name == "truncate" else {1})
        assert not known.model.objects.exists()
    finally:
        execute("ALTER TABLE myapp_thing DROP COLUMN cause", "DROP TABLE causes")


def test_invalidate__in_a_transaction_managed_by_hand_takes_effect_at_once(known: Things) -> None:
    with managed_by_hand():
        known.job.invalidate([1])
        assert known.gone() == {1}


def test_callback__of_the_project_before_the_first_change_reads_the_old_value(known: Things) -> None:
    found: list[set[int]] = []
    with transaction.atomic():
        transaction.on_commit(lambda: found.append(known.gone()))
        known.model.objects.create(owner=1)
    assert (found, known.gone()) == ([set()], {1})


def test_read__of_what_no_statement_told_returns_what_is_cached_and_stores_nothing(known: Things) -> None:
    cache.set(known.job.key(1), "old")
    with rolled_back():
        connection.connection.execute(INSERT)  # past Django
        assert known.job.get(1) == "old"
        cache.delete(known.job.key(1))
        known.job.get(1)
    assert known.gone() == {1}


def test_read__in_a_transaction_that_sql_began_is_stored(known: Things) -> None:
    cache.clear()
    execute("BEGIN", INSERT)
    try:
        known.job.get(1)
    finally:
        execute("ROLLBACK")
    assert known.gone() == set(IDS) - {1}
