"""Odd names of tables and columns, and odd values: each is recorded exactly, and no write fails."""

import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, models

from tests.package.invalidation.capture.things import EVERY, Things, execute, fetch, field_of_type, things, unapplied
from warmer.invalidation import triggers
from warmer.models import ChangeRecord

pytestmark = pytest.mark.usefixtures("db")

COLUMNS = [
    *("warmer_rows", "warmer_number", "warmer_size", "warmer_new", "warmer_old"),
    *("new", "old", "tg_op", "tg_relid", "c", "s", "m", "source", "rows", "select"),
    *("CamelCase", "it's", "100%", "%s", "{braces}", "back\\slash", "*/", "with space", "größe", '"Quoted"'),
]
TABLES = ["CamelCase", "it's", "100%", "{braces}", "back\\slash", "*/", "with space", "größe", "n" * 63]


def quoted(name: str) -> str:
    return connection.ops.quote_name(name)  # type: ignore[no-any-return]


@pytest.mark.parametrize("fields", [None, ["owner", "text"]])
@pytest.mark.parametrize("column", COLUMNS)
def test_trigger__of_an_odd_column_records_its_rows(column: str, fields: list[str] | None) -> None:
    other = '"Another"' if column == '"Quoted"' else f"{column}2"  # quotes that Django leaves as they are
    columns = {"owner": models.IntegerField(db_column=column), "text": models.TextField(db_column=other)}
    depends_on = "owner" if fields is None else lambda row: row.owner
    with things(columns=columns, fields=fields, depends_on=depends_on) as known:
        name, text = quoted(column), quoted(other)
        assert triggers.problems("default") == []
        execute(f"INSERT INTO myapp_thing ({name}, {text}) VALUES (1, 'a')")
        assert known.gone() == {1}
        execute(f"UPDATE myapp_thing SET {name} = 2, {text} = 'b'")
        assert known.gone() == {1, 2}
        assert known.gone_by(execute, "DELETE FROM myapp_thing") == {2}


@pytest.mark.parametrize("table", TABLES)
def test_trigger__of_an_odd_table_records_its_rows(table: str) -> None:
    key = "integer PRIMARY KEY" if connection.vendor == "sqlite" else "serial PRIMARY KEY"
    execute(f"CREATE TABLE {quoted(table)} (id {key}, owner int, text text DEFAULT '')")
    try:
        with things(table=table, is_made=False) as known:
            assert triggers.problems("default") == []
            execute(f"INSERT INTO {known.name} (owner) VALUES (1)", f"UPDATE {known.name} SET owner = 2")
            assert known.gone() == {1, 2}
            assert triggers.remove("default")
            assert table not in triggers.installed("default")
    finally:
        execute(f"DROP TABLE {quoted(table)}")


def test_trigger__of_more_columns_than_a_function_takes_arguments_records_its_rows() -> None:
    columns: Any = {f"column{n}": models.IntegerField(null=True) for n in range(70)}
    with things(columns=columns, depends_on=lambda row: row.column69, fields=list(columns)) as known:
        known.model.objects.create(column69=1)
        assert 1 in known.gone()


VALUES: dict[str, tuple[Any, Any]] = {
    "none": (models.IntegerField(null=True), None),
    "large": (models.BigIntegerField(), 2**63 - 1),
    "boolean": (models.BooleanField(), True),
    "text": (models.TextField(), "a \"quoted\" \\u0000 text\n\t with 'all' sorts, größe, 😀"),
    "decimal": (models.DecimalField(max_digits=20, decimal_places=10), Decimal("12345.6789")),
    "float": (models.FloatField(), 0.1 + 0.2),
    "infinity": (models.FloatField(), float("inf")),
    "less": (models.FloatField(), float("-inf")),
    "date": (models.DateField(), datetime.date(2026, 2, 1)),
    "time": (models.TimeField(), datetime.time(1, 2, 3, 4)),
    "moment": (models.DateTimeField(), datetime.datetime(2026, 2, 1, 3, 4, 5, 6, datetime.UTC)),
    "duration": (models.DurationField(), datetime.timedelta(days=-3, seconds=4, microseconds=5)),
    "uuid": (models.UUIDField(), UUID(int=7)),
    "address": (models.GenericIPAddressField(), "2001:db8::1"),
}
if connection.vendor == "postgresql":
    from django.contrib.postgres.fields import ArrayField

    VALUES["numbers"] = (ArrayField(models.IntegerField(null=True)), [1, None, -2])
    VALUES["texts"] = (ArrayField(models.TextField()), ['a "b"', "c\\d", "{e,f}", "", "NULL", "g"])
    VALUES["empty"] = (ArrayField(models.IntegerField()), [])


UNREADABLE: dict[str, tuple[Any, Any]] = {
    "bytes": (models.BinaryField(), b"\x00\xff"),
    "json": (models.JSONField(), {}),
}


@pytest.mark.parametrize("name", [*VALUES, *UNREADABLE])
def test_function__gets_a_value_as_the_model_has_it(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A value that it cannot get exactly is not guessed: every key, without an error for each change."""
    field, value = (VALUES | UNREADABLE)[name]

    def owners(row: Any) -> int:
        return 1 if (row.value, type(row.value)) == (value, type(value)) else 2

    with things(columns={"value": field.clone()}, depends_on=owners, fields=["value"]) as known:
        known.model.objects.create(value=value)
        assert known.gone() == ({1} if name in VALUES else EVERY)
    assert not caplog.records


COMPARED = {"real": ("0.3", "0.30000000000000004")}
if connection.vendor == "postgresql":
    COMPARED = {
        "json": ('{"a": 1, "a": 2}', '{"a": 2}'),
        "float8": ("0", "-0"),
        "numeric": ("1.0", "1.00"),
        "point": ("(1, 2)", "(1, 3)"),
        "int[]": ("{1}", "{2}"),
        "tstzrange": ("[2026-01-01, 2026-01-02)", "[2026-01-01, 2026-01-03)"),
    }


@pytest.mark.parametrize("kind", COMPARED)
def test_trigger__of_fields_compares_values_of_a_type_without_equality_or_with_a_loose_one(kind: str) -> None:
    old, new = COMPARED[kind]
    columns: Any = {"owner": models.IntegerField(), "value": field_of_type(kind)}
    with things(columns=columns, fields=["value"]) as known:
        execute(f"INSERT INTO myapp_thing (owner, value) VALUES (1, '{old}')")
        assert known.gone_by(execute, "UPDATE myapp_thing SET value = value, owner = owner") == set()
        execute(f"UPDATE myapp_thing SET value = '{new}'")
        assert known.gone() == {1}


def test_trigger__records_a_change_that_the_columns_collation_ignores() -> None:
    """PostgreSQL has such collations only from ICU, which not every build has: see how it compares."""
    nocase = "NOCASE" if connection.vendor == "sqlite" else "C"
    text = models.CharField(max_length=9, db_collation=nocase)
    with things(columns={"owner": models.IntegerField(), "text": text}, fields=["text"]) as known:
        known.model.objects.create(owner=1, text="anna")
        assert known.gone_by(known.model.objects.update, text="Anna") == {1}
        if connection.vendor == "postgresql":
            ((source,),) = fetch("SELECT prosrc FROM pg_proc WHERE proname LIKE 'warmer_record_myapp_thing%'")
            assert '::text COLLATE "C" AS' in source
            assert "::text AS" not in source


def test_function__gets_no_column_that_is_not_in_fields_and_none_is_recorded() -> None:
    def owners(row: Any) -> list[Any]:
        return [row.owner, 2 if hasattr(row, "text") else None]

    with things(depends_on=owners, fields=["owner"]) as known:
        known.model.objects.create(owner=1, text="a secret")
        assert known.gone() == {1}
        assert "secret" not in str(list(ChangeRecord.objects.values()))


DAMAGED = [
    *({"source": "myapp_thing", "rows": rows} for rows in ('[{"owner": Inf}]', '{"owner": 1}', '[{"other": "1"}]')),
    {"source": "myapp_thing", "rows": '[{"owner": {}}]'},
    *({"key": "thing:{id}", "rows": rows} for rows in ("[", "[{}]")),
    *({name: value, "rows": "[" * 100_000} for name, value in (("source", "myapp_thing"), ("key", "thing:{id}"))),
]


@pytest.mark.parametrize("damaged", DAMAGED, ids=[f"{each}"[:60] for each in DAMAGED])
def test_record__that_is_damaged_gives_every_key_and_is_done(known: Things, damaged: dict[str, str]) -> None:
    ChangeRecord.objects.create(**damaged)
    assert known.relayed() == EVERY
    assert unapplied() == 0
