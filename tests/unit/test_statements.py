"""Statements that write: what is read from their beginning."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from psycopg.sql import SQL, Identifier

from warmer.bypass.statements import SEVERAL, as_text, parse, table_key


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        # Django's own, on SQLite and PostgreSQL, MySQL, Oracle
        ('INSERT INTO "myapp_post" ("title") VALUES (%s) RETURNING "myapp_post"."id"', ["myapp_post"]),
        ("INSERT INTO `myapp_post` (`title`) VALUES (%s)", ["myapp_post"]),
        ('INSERT OR IGNORE INTO "myapp_post" ("title") VALUES (%s)', ["myapp_post"]),
        ("INSERT IGNORE INTO `myapp_post` (`title`) VALUES (%s)", ["myapp_post"]),
        ('INSERT INTO "myapp_post" ("a") VALUES (%s) ON CONFLICT("a") DO UPDATE SET "a" = 1', ["myapp_post"]),
        ('UPDATE "myapp_post" SET "title" = %s WHERE "myapp_post"."id" = %s', ["myapp_post"]),
        ('DELETE FROM "myapp_post" WHERE "myapp_post"."id" IN (%s)', ["myapp_post"]),
        ("DELETE `myapp_post` FROM `myapp_post` INNER JOIN `other` ON (TRUE)", ["myapp_post"]),
        ('INSERT INTO "MYAPP_POST" ("TITLE") VALUES (:1)', ["myapp_post"]),
        # by hand
        ("update myapp_post set views = 0", ["myapp_post"]),
        ("  \n\tUPDATE ONLY public.myapp_post AS p SET views = 0", ["myapp_post"]),
        ('UPDATE "public"."myapp_post" SET views = 0', ["myapp_post"]),
        ("UPDATE OR REPLACE myapp_post SET views = 0", ["myapp_post"]),
        ("/* a tool */ -- and more\n UPDATE myapp_post SET views = 0", ["myapp_post"]),
        ("REPLACE INTO myapp_post VALUES (1)", ["myapp_post"]),
        ("MERGE INTO myapp_post USING other ON (TRUE)", ["myapp_post"]),
        ('INSERT INTO [my table] VALUES ("x")', ["my table"]),
        ("WITH old AS (SELECT 1 FOR UPDATE) UPDATE myapp_post SET views = 0", ["myapp_post"]),
        ("WITH gone AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM gone", ["a", "b"]),
        ("UPDATE a SET x = 1; DELETE FROM b;", ["a", "b"]),
        ("SELECT 1; UPDATE a SET x = 1", ["a"]),
        ("SET LOCAL statement_timeout = 0; UPDATE a SET x = 1; SELECT 1", ["a"]),
        ("WITH old AS (SELECT ';') UPDATE a SET x = 1; DELETE FROM b", ["a", "b"]),
        ("EXPLAIN ANALYZE UPDATE a SET x = 1", ["a"]),
        ("explain analyse verbose delete from a", ["a"]),
        ("EXPLAIN (ANALYZE, FORMAT JSON) WITH b AS (SELECT 1) INSERT INTO a SELECT * FROM b", ["a"]),
        ("TRUNCATE a", ["a"]),
        ('TRUNCATE TABLE ONLY public."a", b *, "c" RESTART IDENTITY CASCADE;', ["a", "b", "c"]),
    ],
)
def test_parse__names_what_is_written(sql: str, tables: list[str]) -> None:
    statement = parse(sql)
    assert statement is not None
    assert list(statement.tables) == tables


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "UPDATE",
        "SELECT * FROM update",
        "SELECT 1 FOR UPDATE",
        "WITH a AS (SELECT 1) SELECT * FROM a FOR UPDATE OF a",
        "BEGIN",
        'SAVEPOINT "update"',
        "EXPLAIN UPDATE a SET x = 1",
        "EXPLAIN (FORMAT JSON) UPDATE a SET x = 1",
        "EXPLAIN ANALYZE SELECT * FROM a FOR UPDATE",
        "SELECT 'truncate a'; SELECT 'update a set x = 1'",
        "CREATE TABLE update (id int)",
        "\0\n\r;)(",
    ],
)
def test_parse__is_silent_about_all_else(sql: str) -> None:
    assert parse(sql) is None


@pytest.mark.parametrize(
    "sql",
    [
        "(" * 100_000,
        "/*" * 50_000,
        "-- \n" * 30_000,
        "UPDATE " + "x." * 50_000,
        "WITH " + "UPDATE x " * 50_000,
        "EXPLAIN (" + "ANALYZE " * 50_000,
        "TRUNCATE " + "a, " * 50_000,
        "SELECT 1;" * 50_000,
    ],
)
def test_parse__looks_at_the_beginning_alone_of_what_is_long(sql: str) -> None:
    # What goes back again and again over so much would run into the time limit of every test.
    assert parse(sql) == parse(sql[:SEVERAL]) == parse(sql + "; DELETE FROM late")


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("UPDATE a SET x = 1", "UPDATE a SET x = 1"),
        (SQL("UPDATE {} SET x = 1").format(Identifier("a")), 'UPDATE "a" SET x = 1'),
        (b"UPDATE a SET x = 1", ""),
        (None, ""),
    ],
)
def test_as_text__is_empty_for_what_is_no_text(sql: Any, text: str) -> None:
    assert as_text(sql, SimpleNamespace(connection=None)) == text


@pytest.mark.parametrize("name", ['"public"."Post"', "`Post`", "post", 'public"."post', "[dbo].[post]"])
def test_table_key__is_the_bare_name(name: str) -> None:
    assert table_key(name) == "post"
