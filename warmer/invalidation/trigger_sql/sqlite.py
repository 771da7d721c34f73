"""Triggers on SQLite: one for each table and event, called for each row."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from typing import Any

from warmer.invalidation.records import TABLE
from warmer.invalidation.sources import Compared, source_name
from warmer.invalidation.trigger_sql.definition import MARK, Definition, Installed, literal, sql

EVENTS = ("insert", "update", "delete")
PREPARE: tuple[str, ...] = ()
"""The statements that come before those of `create` or `drop`, in one transaction."""
# A function accepts at most 127 arguments; a row with more columns than this affects every key.
_MOST_COLUMNS = 60
_ROWS = {"insert": ("NEW",), "update": ("OLD", "NEW"), "delete": ("OLD",)}


def find(connection: Any, tables: Iterable[str]) -> dict[str, Installed]:
    """Return the triggers of tables, and of others that have some, with one query."""
    names, found = set(tables), dict[str, Installed]()
    with connection.cursor() as cursor:
        cursor.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type <> 'index'")
        rows = sorted(cursor.fetchall())  # tables, triggers, views
    for kind, name, table, text in rows:
        if kind != "trigger" and name in names:
            found[name] = Installed(is_table=kind == "table")
        elif kind == "trigger" and f"/* {MARK}" in text:
            # By its text, because a trigger of a renamed table still has the old name in its own.
            now, ours = found.get(table, Installed()), {_name(event, table): event for event in EVENTS}
            if name in ours:
                # A DELETE without a condition fires the triggers too: there is no TRUNCATE.
                events = now.events | {ours[name], "truncate"}
                now = replace(now, definition=Definition.from_comment(text), events=events)
            drop = f"DROP TRIGGER IF EXISTS {connection.ops.quote_name(name)}"
            found[table] = replace(now, drop=(*now.drop, drop))
    return found


def create(connection: Any, table: str, definition: Definition, now: Installed) -> list[str]:
    """Return the statements that make the triggers of a table record a definition."""
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA table_xinfo({quote(table)})")
        known = {row[1] for row in cursor}  # the models may be ahead of the table
    statements = list(now.drop)
    for event in EVENTS:
        kinds = definition.columns.items()
        trigger = sql(
            "sqlite",
            name=quote(_name(event, table)),
            event=event.upper(),
            table=quote(table),
            comment=definition.comment.replace("*", "\\u002a"),  # which could end the comment
            inserts="\n".join(_insert(quote, table, event, known, *each) for each in kinds),
        )
        statements.append(trigger)
    return statements


def _name(event: str, table: str) -> str:
    return f"warmer_{event}_{table}"


def _insert(
    quote: Any, table: str, event: str, known: Set[str], compared: Compared, columns: Sequence[str]
) -> str:
    """Return the statement that writes one kind of record: of every key without all of its columns."""
    rows = "NULL"
    if 0 < len(columns) <= _MOST_COLUMNS and {*columns} <= known:
        rows = f"json_array({', '.join(_row(quote, each, columns) for each in _ROWS[event])})"
    condition = "1"
    if event == "update" and compared is not None and {*compared} <= known:
        # A column's own collation may treat different texts as equal.
        differ = (f"OLD.{quote(name)} IS NOT NEW.{quote(name)} COLLATE BINARY" for name in compared)
        condition = " OR ".join(differ)
    source = literal(source_name(table, compared))
    return f"  INSERT INTO {TABLE} (source, rows) SELECT {source}, {rows} WHERE {condition};"


def _row(quote: Any, row: str, columns: Iterable[str]) -> str:
    pairs = ", ".join(f"{literal(name)}, {_text(f'{row}.{quote(name)}')}" for name in columns)
    return f"json_object({pairs})"


def _text(value: str) -> str:
    return (
        f"CASE typeof({value}) WHEN 'blob' THEN '\\x' || hex({value}) "
        f"WHEN 'real' THEN printf('%!.17g', {value}) ELSE CAST({value} AS TEXT) END"
    )
