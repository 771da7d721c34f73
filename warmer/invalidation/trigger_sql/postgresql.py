"""Triggers on PostgreSQL: one function for each table, called once for each statement."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from warmer.conf import conf
from warmer.invalidation.records import TABLE
from warmer.invalidation.sources import Compared, source_name
from warmer.invalidation.trigger_sql.definition import EVENTS, Definition, Installed, literal, split_name, sql

MOST_BYTES = 1_000_000
MOST_BYTES_OF_A_ROW = 8_000
PREPARE: tuple[str, ...] = (
    # How long an installation waits for writers, while others wait behind it.
    "SET LOCAL lock_timeout = '5s'",
    # One installer at a time: PostgreSQL refuses to replace one function twice at once.
    "SELECT pg_advisory_xact_lock(4927046113270519)",
)
"""The statements that come before those of `create` or `drop`, in one transaction."""

_SHAPES = {
    "insert": "REFERENCING NEW TABLE AS warmer_new",
    "update": "REFERENCING OLD TABLE AS warmer_old NEW TABLE AS warmer_new",
    "delete": "REFERENCING OLD TABLE AS warmer_old",
    "truncate": "",
}


def find(connection: Any, tables: Iterable[str]) -> dict[str, Installed]:
    """Return the triggers of tables, and of visible others that have some, with one query."""
    found: dict[str, Installed] = {}
    partitions: dict[str, list[str]] = defaultdict(list)
    asked = [(table, *split_name(table), _function_name(table)) for table in tables]
    ours = [f"warmer_{event}" for event in EVENTS]
    with connection.cursor() as cursor:
        given = ([each[position] for each in asked] for position in range(4))
        cursor.execute(sql("postgresql_catalog", table=TABLE), [*given, ours, ours])
        rows = cursor.fetchall()
    for table, partition, events, comment, columns, is_table, drop, schema, owner, records in rows:
        if partition:
            if not set(EVENTS).issubset(events or ()):
                partitions[table].append(partition)
            continue
        definition = Definition.from_comment(comment)
        limited = definition and definition.limited_to(columns)
        found[table] = Installed(
            is_table=is_table,
            definition=limited,
            is_outdated=limited != definition,
            events=frozenset(events or ()),
            drop=tuple(drop or ()),
            schema=schema,
            owner=owner or "",
            records=records or f"public.{TABLE}",
        )
    return {table: replace(each, partitions=tuple(partitions[table])) for table, each in found.items()}


def create(connection: Any, table: str, definition: Definition, now: Installed) -> list[str]:
    """Return the statements that make the triggers of a table record a definition.

    Existing triggers stay unchanged: only their function is replaced, which does not wait for locks.
    """
    quote = connection.ops.quote_name
    function = f"{now.schema}.{quote(_function_name(table))}"
    blocks = [_block(quote, now.records, table, *each) for each in definition.columns.items()]
    statements = [
        sql(
            "postgresql",
            function=function,
            records=literal(now.records),
            schema=literal(now.records.rpartition(".")[0]),
            blocks="".join(blocks),
        ),
        f"REVOKE EXECUTE ON FUNCTION {function}() FROM PUBLIC",
        f"COMMENT ON FUNCTION {function}() IS {literal(definition.comment)}",
        # After its creation: that of a table with a new name or schema is another one.
        *([f"ALTER FUNCTION {function}() OWNER TO {now.owner}"] if now.owner else []),
    ]
    missing = [(quote(table), event) for event in EVENTS if event not in now.events]
    missing += [(partition, event) for partition in now.partitions for event in EVENTS]
    return statements + [
        f'CREATE OR REPLACE TRIGGER "warmer_{event}" AFTER {event.upper()} ON {name} {_SHAPES[event]} '
        f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        for name, event in missing
    ]


def _function_name(table: str) -> str:
    # Names are cut at 63 bytes, so a long table name is replaced by a hash.
    # Two names of one table are two sources, so they need two functions.
    _, name = split_name(table)
    hashed = hashlib.sha256(table.encode()).hexdigest()[:8]
    short = "".join(each for each in name if each.isascii() and (each.isalnum() or each == "_"))[:40]
    return f"warmer_record_{short}_{hashed}"


def _block(quote: Any, records: str, table: str, compared: Compared, columns: Sequence[str]) -> str:
    """Return the PL/pgSQL that writes the record of one set of compared columns."""
    named = sorted({*columns, *(compared or ())})
    old, new = (_select(quote, each, columns) for each in ("warmer_old", "warmer_new"))
    updated = f"{old} UNION ALL {new}"
    if compared is not None:
        # As text: every type has one, and different values have different texts.
        was, is_now = (f"({_select(quote, each, named)})" for each in ("warmer_old", "warmer_new"))
        both = f"(({was} EXCEPT ALL {is_now}) UNION ALL ({is_now} EXCEPT ALL {was}))"
        updated = _select(quote, "warmer_both", columns, f"{both} warmer_both")
    return sql(
        "postgresql_block",
        records=records,
        source=literal(source_name(table, compared)),
        names="ARRAY[" + ", ".join(map(literal, named)) + "]::name[]",
        number=len(named),
        inserted=_rows(quote, columns, new),
        updated=_rows(quote, columns, updated),
        deleted=_rows(quote, columns, old),
    )


def _select(quote: Any, table: str, names: Iterable[str], source: str = "") -> str:
    # Columns are qualified with their table, because PL/pgSQL has variables of its own.
    # A column's own collation may treat different texts as equal.
    columns = ", ".join(f'{table}.{quote(name)}::text COLLATE "C" AS {quote(name)}' for name in names)
    return f"SELECT {columns or 'NULL'} FROM {source or table}"


def _rows(quote: Any, columns: Sequence[str], changed: str) -> str:
    """Return the PL/pgSQL that counts the rows changed by an event, and returns them as JSON."""
    return sql(
        "postgresql_rows",
        changed=f"({changed})",
        size=" + ".join(f"coalesce(octet_length(c.{quote(name)}), 0)" for name in columns) or "0",
        limit=int(conf.FENCE_RECORDS) + 1 if columns else 1,
        row_bytes=MOST_BYTES_OF_A_ROW,
        bytes=MOST_BYTES,
    )
