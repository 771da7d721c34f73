"""Columns that are gone, a read-only database, rows without a key: what PostgreSQL alone can show."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.core.cache import cache
from django.db import DataError, models, transaction

from tests.package.invalidation.capture import outsiders
from tests.package.invalidation.capture.things import EVERY, INSERT, Things, execute, fetch, problem_of, things
from tests.support.fixtures import install_triggers
from tests.support.transactions import Rollback
from warmer import jobs, warm_many
from warmer.invalidation import Relay, records, triggers
from warmer.models import ChangeRecord

pytestmark = pytest.mark.usefixtures("db")


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
    declare_wider(known)
    execute(statement)
    known.model._meta.get_field("owner").column = next(iter(row))
    jobs.version += 1  # the process is another one
    triggers.forget_installed()
    assert "no longer has" in problem_of().why
    assert triggers.catch_up("default") == ["myapp_thing"]
    assert (known.gone(), triggers.problems("default")) == (EVERY, [])
    known.warm()
    ChangeRecord.objects.all().delete()
    values = ", ".join(f"'{value}'" for value in row.values())
    outsiders.run(f"INSERT INTO myapp_thing ({', '.join(row)}) VALUES ({values})")
    assert json.loads(ChangeRecord.objects.get().rows or "null") == [row]
    Relay().poll()
    assert known.gone() == {1}


# -- tables of other schemas ---------------------------------------------------------------------------------
@pytest.mark.parametrize("table", ['crm"."thing', '"crm"."thing"', 'public"."thing'])
def test_table__that_names_its_schema_is_captured(table: str) -> None:
    schema = table.strip('"').partition('"')[0]
    columns = "(id serial PRIMARY KEY, owner int, text text DEFAULT '')"
    execute("CREATE SCHEMA crm", f"CREATE TABLE {schema}.thing {columns}")
    try:
        with things(table=table, is_made=False) as known:
            assert triggers.problems("default") == []
            known.model.objects.bulk_create([known.model(owner=1)])
            assert known.gone() == {1}
            execute(f"UPDATE {schema}.thing SET owner = 2")
            assert known.gone() == {1, 2}
            known.warm()
            outsiders.run(f"DELETE FROM {schema}.thing")
            Relay().poll()
            assert known.gone() == {2}
            triggers.prune("default")
            assert triggers.problems("default") == []
            assert table in triggers.remove("default")
            assert problem_of(table).why == "has no triggers"
            assert fetch("SELECT 1 FROM pg_proc WHERE proname LIKE 'warmer_record_thing_%'") == []
    finally:
        execute("DROP SCHEMA crm CASCADE", "DROP TABLE IF EXISTS thing")


def declare_wider(known: Things) -> None:
    """Make the triggers record another column, too, for a job that is not declared here any more."""
    warm_many("wider:{id}", ids=list, name="wider", depends_on={known.model: "text"})(lambda ids: {})
    assert install_triggers() == ["myapp_thing"]
    jobs.unregister("wider")


# -- databases and sessions -----------------------------------------------------------------------------
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


def test_hit__in_a_transaction_that_failed_gives_what_is_cached(known: Things) -> None:
    assert records.are_kept("default")
    cache.set(known.job.key(1), "kept")
    with suppress(Rollback), transaction.atomic():
        execute(INSERT)
        with suppress(DataError):
            execute("SELECT 1 / 0")
        assert known.job.get(1) == "kept"
        raise Rollback
    assert known.job.get(1) == "kept"


# -- rows -----------------------------------------------------------------------------------------------
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
            known.warm()
            execute("UPDATE keyless SET text = CASE WHEN nr = 1 THEN 'B' ELSE 'A' END")
            assert known.gone() == {1}
            known.warm()
            execute("UPDATE keyless SET text = text")
            assert known.gone() == set()
    finally:
        execute("DROP TABLE keyless")
