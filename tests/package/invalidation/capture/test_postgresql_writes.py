"""No trigger makes the project's own write fail, and none misses it: what PostgreSQL alone can show."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection, models, transaction

from tests.package.invalidation.capture import outsiders
from tests.package.invalidation.capture.things import (
    EVERY,
    INSERT,
    Things,
    execute,
    fetch,
    field_of_type,
    problem_of,
    things,
    without_our_table,
)
from tests.support.fixtures import install_triggers
from warmer.invalidation import triggers
from warmer.models import ChangeRecord

pytestmark = pytest.mark.usefixtures("db")


# -- under a long session, whose plans are made ---------------------------------------------------------
ALTERED = {
    "renamed": ("RENAME owner TO boss", "UPDATE myapp_thing SET text = 'new'"),
    "dropped": ("DROP owner", "UPDATE myapp_thing SET text = 'new'"),
    "of_another_type": ("ALTER owner TYPE text USING 'number ' || owner", "UPDATE myapp_thing SET owner = 'number 2'"),
}


@pytest.mark.parametrize("fields", [None, ["text"]])
@pytest.mark.parametrize(("altered", "write"), ALTERED.values(), ids=ALTERED)
def test_trigger__altered_column_invalidates_every_key(altered: str, write: str, fields: Any) -> None:
    with things(fields=fields) as known:
        thing = known.model.objects.create(owner=1)
        thing.text = "planned"
        thing.save()
        known.warm()
        outsiders.run(f"ALTER TABLE myapp_thing {altered}")
        execute(write)
        assert known.gone() == EVERY


def test_trigger__column_that_is_named_back_is_recorded_again(known: Things) -> None:
    for there, back in (("owner TO boss", "boss TO owner"),) * 2:
        assert known.gone_by(known.model.objects.create, owner=1) == {1}
        outsiders.run(f"ALTER TABLE myapp_thing RENAME {there}")
        execute("DELETE FROM myapp_thing")
        assert known.gone() == EVERY
        outsiders.run(f"ALTER TABLE myapp_thing RENAME {back}")


def test_trigger__without_our_table_writes_succeed_and_are_recorded_again_with_it(known: Things) -> None:
    """As after a dump that was restored without it: its triggers are there."""
    known.model.objects.create(owner=1)
    known.warm()
    with without_our_table():
        known.model.objects.create(owner=1)
        with transaction.atomic():
            known.model.objects.update(text="new")
            known.model.objects.all().delete()
    assert known.gone() == set()
    known.model.objects.create(owner=2)
    assert known.gone() == {2}


def test_trigger__with_ids_that_are_taken_writes_succeed_and_are_recorded(known: Things) -> None:
    """As after a restore of our table without its sequence."""
    outsiders.run(INSERT, INSERT)
    first = ChangeRecord.objects.earliest("pk").pk
    fetch(f"SELECT setval(pg_get_serial_sequence('warmer_changerecord', 'id'), {first}, false)")
    outsiders.run(INSERT.replace("1", "2"))
    assert (ChangeRecord.objects.count(), known.relayed()) == (3, {1, 2})


@pytest.fixture
def odd_type() -> Any:
    """A type whose conversion to JSON raises."""
    execute(
        "CREATE TYPE odd AS ENUM ('one')",
        "CREATE FUNCTION odd_as_json(odd) RETURNS json LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no JSON for you'; END $$",
        "CREATE CAST (odd AS json) WITH FUNCTION odd_as_json(odd)",
    )
    yield
    execute("DROP TYPE odd CASCADE")


@pytest.mark.parametrize("recorded", ["owner", "shape"])
def test_trigger__column_without_json_is_recorded(odd_type: None, recorded: str) -> None:
    columns: Any = {"owner": models.IntegerField(), "shape": field_of_type("odd")}
    with things(columns=columns, depends_on=lambda row: row.owner, fields=["owner", recorded]) as known:
        execute("INSERT INTO myapp_thing (owner, shape) VALUES (1, 'one')")
        with pytest.raises(psycopg.Error, match="no JSON"), outsiders.outsider() as other:
            other.execute("SELECT to_jsonb(t) FROM myapp_thing t")
        assert known.gone() == {1}


def test_trigger__names_two_columns_of_our_table(known: Things) -> None:
    """So a later release may alter the others while this one writes."""
    known.model.objects.create(owner=1)
    ours = "ALTER TABLE warmer_changerecord"
    outsiders.run(f"{ours} ADD later int DEFAULT 1", f"{ours} RENAME recorded_at TO written_at")
    try:
        outsiders.run("INSERT INTO myapp_thing (owner, text) VALUES (2, '')")
        known.model.objects.create(owner=3)
    finally:
        outsiders.run(f"{ours} DROP later", f"{ours} RENAME written_at TO recorded_at")
    assert known.relayed() == {1, 2, 3}


@pytest.mark.parametrize(
    "rows",
    [
        "SELECT 1, repeat('x', 30000) FROM generate_series(1, 10000)",
        "SELECT 1, repeat('x', 7000) FROM generate_series(1, 200)",
        "VALUES (1, 'short'), (2, repeat('x', 30000))",
    ],
    ids=["many", "together", "one of two"],
)
def test_trigger__large_rows_invalidate_every_key(rows: str) -> None:
    with things(depends_on=lambda row: row.owner, fields=["owner", "text"]) as known:
        execute(f"INSERT INTO myapp_thing (owner, text) {rows}")
        assert known.gone() == EVERY
        assert [each.rows for each in ChangeRecord.objects.all()] == [None]


def test_trigger__a_statement_of_many_rows_is_one_record_and_one_transaction(known: Things) -> None:
    """No subtransaction for each statement: past 64 they slow down everybody's snapshots."""
    with transaction.atomic():
        for _ in range(300):
            execute("INSERT INTO myapp_thing (owner, text) SELECT 1, '' FROM generate_series(1, 3)")
        assert ChangeRecord.objects.count() == 300
        ((next_one,),) = outsiders.fetch("SELECT pg_current_xact_id()::text::bigint")
        (ours,) = set(ChangeRecord.objects.values_list("xact", flat=True))
        assert next_one - ours < 300  # others on the server take some numbers, too
    assert known.gone() == {1}


def test_trigger__records_the_same_text_whatever_the_session_has_set() -> None:
    columns: Any = {
        "day": models.DateField(),
        "at": models.DateTimeField(),
        "span": models.DurationField(),
        "number": models.FloatField(),
        "blob": models.BinaryField(),
    }
    insert = (
        "INSERT INTO myapp_thing (day, at, span, number, blob) VALUES ('2026-02-01', '1900-01-01 UTC', "
        "'3 days 4.5 seconds', 0.1::float8 + 0.2::float8, '\\x00ff')"
    )
    with things(columns=columns, depends_on=lambda row: None, fields=list(columns)):
        outsiders.run(insert)
        outsiders.run(
            "SET DateStyle = 'German'; SET TimeZone = 'Asia/Kathmandu'; SET extra_float_digits = -15; "
            f"SET IntervalStyle = 'postgres_verbose'; SET bytea_output = 'escape'; {insert}"
        )
        first, second = (json.loads(each.rows or "") for each in ChangeRecord.objects.order_by("pk"))
        assert [row | {"id": "1"} for row in second] == first


def test_rows__that_swap_their_values_are_told_by_the_key_of_the_model() -> None:
    """The table need not have a primary key of its own, as many partitioned ones."""
    columns: Any = {
        "nr": models.IntegerField(primary_key=True),
        "owner": models.IntegerField(),
        "text": models.TextField(),
    }
    execute("CREATE TABLE keyless (nr int, owner int, text text)")
    try:
        with things(table="keyless", columns=columns, fields=["text"], is_made=False) as known:
            execute("INSERT INTO keyless VALUES (1, 1, 'A'), (2, 1, 'B')")
            assert known.gone_by(execute, "UPDATE keyless SET text = CASE WHEN nr = 1 THEN 'B' ELSE 'A' END") == {1}
            assert known.gone_by(execute, "UPDATE keyless SET text = text") == set()
    finally:
        execute("DROP TABLE keyless")


# -- tables that are not plain --------------------------------------------------------------------------
@pytest.fixture
def partitioned() -> Any:
    execute(
        "CREATE TABLE parted (id bigserial, owner int, text text DEFAULT '', "
        "PRIMARY KEY (id, owner)) PARTITION BY RANGE (owner)",
        "CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (3)",
        'CREATE TABLE "High" PARTITION OF parted FOR VALUES FROM (3) TO (6) PARTITION BY LIST (owner)',
        'CREATE TABLE higher PARTITION OF "High" DEFAULT',
    )
    with things(table="parted", is_made=False) as known:
        yield known
    execute("DROP TABLE parted")


def test_partitions__are_captured_through_the_parent_and_by_name(partitioned: Any) -> None:
    # One of the rows moves to another partition.
    execute("INSERT INTO parted (owner) VALUES (2), (4)", "UPDATE parted SET owner = owner + 1")
    assert partitioned.gone() == {2, 3, 4, 5}
    assert ChangeRecord.objects.count() == 2
    partitioned.warm()
    outsiders.run(
        "INSERT INTO low (owner) VALUES (1)",
        'INSERT INTO "High" (owner) VALUES (4)',
        "UPDATE higher SET owner = 3 WHERE owner = 5",
    )
    assert partitioned.relayed() == {1, 4, 3, 5}
    outsiders.run("TRUNCATE low")
    assert partitioned.relayed() == EVERY
    assert triggers.remove("default")
    of_higher = "SELECT tgname FROM pg_trigger WHERE tgrelid = 'higher'::regclass AND NOT tgisinternal"
    assert fetch(of_higher) == []


def test_view__is_a_problem_and_signals_tell_of_its_changes() -> None:
    execute("CREATE TABLE behind (id bigserial PRIMARY KEY, owner int, text text)", "CREATE VIEW seen AS TABLE behind")
    with things(table="seen", is_made=False) as known:
        (problem,) = triggers.problems("default")
        assert (problem.table, problem.fix) == ("seen", "Depend on the tables behind it instead.")
        known.model.objects.create(owner=1)
        assert known.gone() == {1}
        with transaction.atomic():
            known.model.objects.create(owner=2)
        assert known.gone() == {1, 2}
    execute("DROP TABLE behind CASCADE")


# -- tables of other schemas ---------------------------------------------------------------------------------
@pytest.fixture
def _two_schemas(db: None) -> Iterator[None]:
    """Another schema, and a table that a test may move there."""
    columns = "(id serial PRIMARY KEY, owner int, text text DEFAULT '')"
    execute("CREATE SCHEMA crm", f"CREATE TABLE public.thing {columns}")
    yield
    execute("RESET search_path", "DROP SCHEMA crm CASCADE", "DROP TABLE IF EXISTS thing")
    execute(*(f"DROP FUNCTION {name}" for (name,) in fetch(FUNCTIONS)))


FUNCTIONS = "SELECT oid::regprocedure::text FROM pg_proc WHERE proname LIKE 'warmer_record_thing_%'"


@pytest.mark.usefixtures("_two_schemas")
@pytest.mark.parametrize("table", ['crm"."thing', '"crm"."thing"', 'public"."thing'])
def test_table__that_names_its_schema_is_captured(table: str) -> None:
    schema = table.strip('"').partition('"')[0]
    execute(f"ALTER TABLE public.thing SET SCHEMA {schema}")
    with things(table=table, is_made=False) as known:
        assert triggers.problems("default") == []
        known.model.objects.bulk_create([known.model(owner=1)])
        execute(f"UPDATE {schema}.thing SET owner = 2")
        assert known.gone() == {1, 2}
        known.warm()
        outsiders.run(f"DELETE FROM {schema}.thing")
        assert known.relayed() == {2}
        triggers.prune("default")
        assert triggers.problems("default") == []
        assert table in triggers.remove("default")
        assert problem_of(table).why == "has no triggers"
        assert fetch(FUNCTIONS) == []


@pytest.mark.usefixtures("_two_schemas")
@pytest.mark.parametrize("table", ['crm"."thing', 'public"."thing', "thing"], ids=["moved", "named", "found"])
def test_table__whose_schema_changes_is_a_problem_and_captured_again(table: str) -> None:
    """Its triggers would record under its old name, or in a function that no installation replaces."""
    schema = "public" if "public" in table else "crm"
    execute("SET search_path = public, crm")
    with things(table="thing", is_made=False):
        execute(f"ALTER TABLE public.thing SET SCHEMA {schema}")
    with things(table=table, is_made=False, is_captured=False) as known:
        assert problem_of(table).why == "has no triggers"
        assert install_triggers() == [table]
        assert triggers.problems("default") == []
        outsiders.run(f"INSERT INTO {schema}.thing (owner) VALUES (1)")
        assert known.relayed() == {1}
        assert triggers.remove("default")


@pytest.mark.parametrize(("depends_on", "fields"), [("owner", ["half"]), ("half", None)])
def test_trigger__that_names_a_virtual_generated_column_gives_every_key(depends_on: str, fields: Any) -> None:
    if connection.pg_version < 180_000:
        pytest.skip("PostgreSQL 18 brought virtual generated columns")
    columns = {"owner": models.IntegerField(), "half": models.IntegerField()}
    execute("CREATE TABLE virtual (id serial PRIMARY KEY, owner int, half int GENERATED ALWAYS AS (owner / 2) VIRTUAL)")
    try:
        with things(table="virtual", columns=columns, depends_on=depends_on, fields=fields, is_made=False) as known:
            execute("INSERT INTO virtual (owner) VALUES (4)")
            assert known.gone() == EVERY
            assert known.gone_by(execute, "UPDATE virtual SET owner = 6") == EVERY
    finally:
        execute("DROP TABLE virtual")
