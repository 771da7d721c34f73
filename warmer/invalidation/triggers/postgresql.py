"""Triggers on PostgreSQL: one function for each table, called once for each statement."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

from warmer.conf import conf
from warmer.invalidation.records import TABLE
from warmer.invalidation.triggers.definition import EVENTS, Block, Definition, Found, Installed

# A record is read whole by whoever applies it. More bytes than these, and it says "every key". The limit for
# a row keeps what is put together for a statement far below PostgreSQL's limit for a value.
MOST_BYTES = 1_000_000
MOST_BYTES_OF_A_ROW = 8_000
# Whoever installs waits at most so long for writers, who wait behind it.
LOCK_TIMEOUT = "5s"
# One installer at a time: PostgreSQL refuses to replace one function twice at once.
_LOCK = 4_927_046_113_270_519

_SHAPES = {
    "insert": "REFERENCING NEW TABLE AS warmer_new",
    "update": "REFERENCING OLD TABLE AS warmer_old NEW TABLE AS warmer_new",
    "delete": "REFERENCING OLD TABLE AS warmer_old",
    "truncate": "",
}

# Every relation in reach that can have triggers, its partitions, and which triggers of ours they have.
_CATALOG = """
WITH RECURSIVE part(root, oid) AS (
  SELECT oid, oid FROM pg_class WHERE pg_table_is_visible(oid) AND relname = ANY(%s)
    AND relkind IN ('r', 'p', 'v', 'm', 'f')
  UNION ALL
  SELECT part.root, pg_inherits.inhrelid FROM part JOIN pg_inherits ON inhparent = part.oid
  JOIN pg_class ON pg_class.oid = inhrelid WHERE relispartition
)
SELECT root.relname, root.relkind, part.oid <> part.root, part.oid::regclass::text,
  array_agg(tgname || ' ' || proname) FILTER (WHERE tgenabled IN ('O', 'A')),
  max(obj_description(tgfoid, 'pg_proc')),
  ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = part.oid AND attnum > 0 AND NOT attisdropped)
FROM part JOIN pg_class root ON root.oid = part.root
LEFT JOIN pg_trigger ON tgrelid = part.oid AND NOT tgisinternal AND tgname LIKE 'warmer\\_%%'
LEFT JOIN pg_proc ON pg_proc.oid = tgfoid
GROUP BY root.relname, root.relkind, part.oid, part.root
"""


def find(connection: Any, tables: Iterable[str]) -> Found:
    """Return the triggers that tables have, by one query; a table that is not there is left out."""
    found: dict[str, Installed] = {}
    partitions: dict[str, list[str]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_CATALOG, [list(tables)])
        rows = cursor.fetchall()
    for table, kind, is_partition, relation, triggers, comment, columns in rows:
        # The triggers of a table that was renamed call the function of its old name.
        ours = {f"warmer_{event} {_function_name(table)}": event for event in EVENTS}
        events = frozenset(ours[each] for each in triggers or () if each in ours)
        if is_partition:
            if events != frozenset(EVENTS):
                partitions[table].append(relation)
            continue
        definition = Definition.from_comment(table, comment)
        found[table] = Installed(
            definition=definition and definition.limited_to(columns),
            is_outdated=definition is not None and definition != definition.limited_to(columns),
            events=events,
            is_capturable=kind in ("r", "p"),
        )
    return {table: replace(each, partitions=tuple(partitions[table])) for table, each in found.items()}


def find_all(connection: Any) -> set[str]:
    """Return every table in reach that has a trigger of ours."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT relname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid "
            "WHERE tgname = ANY(%s) AND pg_table_is_visible(tgrelid) AND NOT relispartition",
            [[f"warmer_{event}" for event in EVENTS]],
        )
        return {row[0] for row in cursor.fetchall()}


def create(connection: Any, definition: Definition, now: Installed) -> list[str]:
    """Return the statements that make the triggers of a table record a definition.

    Triggers that are there stay as they are: only their function is replaced, which waits for nobody.
    """
    quote = connection.ops.quote_name
    function = _function(connection, definition.table)
    schema = _schema(connection, TABLE)
    records = f"{quote(schema)}.{quote(TABLE)}"
    blocks = "".join(_block(connection, definition, block, records) for block in definition.blocks)
    text = files(__package__).joinpath("postgresql.sql").read_text()
    text = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    statements = [
        text.format(function=function, records_text=_literal(records), blocks=blocks),
        f"REVOKE EXECUTE ON FUNCTION {function}() FROM PUBLIC",
        f"COMMENT ON FUNCTION {function}() IS {_literal(definition.comment)}",
    ]
    for event in EVENTS:
        if event not in now.events:
            statements += _trigger(event, quote(definition.table), function, is_partition=False)
    for partition in now.partitions:
        for event in EVENTS:
            statements += _trigger(event, partition, function, is_partition=True)
    return statements


def drop(connection: Any, table: str) -> list[str]:
    """Return the statements that remove the triggers of a table, and their function."""
    name = connection.ops.quote_name(table)
    statements = [f'DROP TRIGGER IF EXISTS "warmer_{event}" ON {name}' for event in EVENTS]
    return [*statements, f"DROP FUNCTION IF EXISTS {_function(connection, table)}() CASCADE"]


def prepare(connection: Any) -> list[str]:
    """Return the statements that come before those of `create` or `drop`, in one transaction."""
    return [f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'", f"SELECT pg_advisory_xact_lock({_LOCK})"]


def _trigger(event: str, table: str, function: str, *, is_partition: bool) -> list[str]:
    create = f'CREATE OR REPLACE TRIGGER "warmer_{event}" AFTER {event.upper()} ON {table} {_SHAPES[event]} '
    return [f"{create}FOR EACH STATEMENT EXECUTE FUNCTION {function}()"]


def _function(connection: Any, table: str) -> str:
    quote = connection.ops.quote_name
    return f"{quote(_schema(connection, table))}.{quote(_function_name(table))}"


def _function_name(table: str) -> str:
    # A name is cut at 63 bytes, so a long table is told by a hash.
    hashed = hashlib.sha256(table.encode()).hexdigest()[:8]
    short = "".join(each for each in table if each.isascii() and (each.isalnum() or each == "_"))[:40]
    return f"warmer_record_{short}_{hashed}"


def _schema(connection: Any, table: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
            "WHERE relname = %s AND pg_table_is_visible(pg_class.oid) AND relkind IN ('r', 'p')",
            [table],
        )
        row = cursor.fetchone()
    return str(row[0]) if row else "public"


def _primary_key(connection: Any, table: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey) "
            "WHERE indisprimary AND indrelid = %s::regclass ORDER BY attname",
            [connection.ops.quote_name(table)],
        )
        return [row[0] for row in cursor.fetchall()]


def _block(connection: Any, definition: Definition, block: Block, records: str) -> str:
    """Return the PL/pgSQL that writes one kind of record."""
    source = _literal(definition.name(block))
    every_key = f"INSERT INTO {records} (source, rows) VALUES ({source}, NULL);"
    keys = _primary_key(connection, definition.table) if block.compared is not None else []
    named = sorted({*block.columns, *(block.compared or ()), *keys})
    has_columns = (
        "(SELECT count(*) FROM pg_attribute WHERE attrelid = TG_RELID AND attnum > 0 AND NOT attisdropped "
        f"AND attname = ANY({_names(named)})) = {len(named)}"
    )
    branches = "".join(
        f"    {'IF' if event == 'insert' else 'ELSIF'} TG_OP = '{event.upper()}' THEN\n"
        f"{_rows(connection, block, keys, event)}"
        for event in ("insert", "update", "delete")
    )
    return f"""
  IF TG_OP = 'TRUNCATE' OR NOT {has_columns} THEN
    {every_key}
  ELSE
{branches}    END IF;
    IF warmer_number > 0 THEN
      INSERT INTO {records} (source, rows) VALUES ({source}, warmer_rows);
    END IF;
  END IF;
"""


def _rows(connection: Any, block: Block, keys: Sequence[str], event: str) -> str:
    """Return the PL/pgSQL that finds how many rows an event changed, and those as JSON."""
    quote = connection.ops.quote_name
    tables = {"insert": ["warmer_new"], "delete": ["warmer_old"], "update": ["warmer_old", "warmer_new"]}[
        event
    ]
    limit = int(conf.FENCE_RECORDS) + 1
    if event == "update" and block.compared is not None:
        wanted = sorted({*block.columns, *block.compared, *keys})
        # As text: every type has one, and what differs as a value differs as text.
        old, new = (f"(SELECT {_columns(quote, table, wanted)} FROM {table})" for table in tables)
        changed = f"(({old} EXCEPT ALL {new}) UNION ALL ({new} EXCEPT ALL {old}))"
    else:
        selects = [f"SELECT {_columns(quote, table, block.columns)} FROM {table}" for table in tables]
        changed = f"({' UNION ALL '.join(selects)})"
    if not block.columns:
        return f"""\
      SELECT count(*), NULL INTO warmer_number, warmer_rows
        FROM (SELECT 1 FROM {changed} c LIMIT 1) s;
"""
    # A function takes no more than 100 arguments.
    pairs = [f"{_literal(name)}, c.{quote(name)}" for name in block.columns]
    groups = [", ".join(pairs[start : start + 50]) for start in range(0, len(pairs), 50)]
    row = " || ".join(f"jsonb_build_object({each})" for each in groups)
    size = " + ".join(f"coalesce(octet_length(c.{quote(name)}), 0)" for name in block.columns)
    return f"""\
      SELECT count(*),
          CASE WHEN count(*) < {limit} AND max(s.size) < {MOST_BYTES_OF_A_ROW} AND sum(s.size) < {MOST_BYTES}
            THEN jsonb_agg(DISTINCT s.changed) FILTER (WHERE s.size < {MOST_BYTES_OF_A_ROW})::text END
        INTO warmer_number, warmer_rows
        FROM (
          SELECT m.size, CASE WHEN m.size < {MOST_BYTES_OF_A_ROW} THEN {row} END AS changed
            FROM {changed} c, LATERAL (SELECT {size} AS size) m LIMIT {limit}
        ) s;
"""


def _columns(quote: Any, table: str, names: Iterable[str]) -> str:
    """Return columns as text. Each is told with its table: PL/pgSQL has variables of its own."""
    return ", ".join(f"{table}.{quote(name)}::text AS {quote(name)}" for name in names) or "NULL"


def _names(names: Iterable[str]) -> str:
    return "ARRAY[" + ", ".join(map(_literal, names)) + "]::name[]"


def _literal(text: str) -> str:
    escaped = text.replace("'", "''")
    return f" E'{escaped}'".replace("\\", "\\\\") if "\\" in text else f"'{escaped}'"
