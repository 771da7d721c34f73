"""SQL statements that write: what they do, and to which tables.

Nothing here understands SQL: the beginning of a statement tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

# A comment that a tool puts before a statement, a name, and nothing that comes after it.
BEGINNING = 1_000
# Of a statement that begins with WITH, or of several in one.
SEVERAL = 20_000

_NAME = r'(?:[\w$]+|"(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\])'
_TABLE = rf"(?P<table>{_NAME}(?:\s*\.\s*{_NAME})*)"
_WRITE = rf"""
    (?: INSERT \s+ (?:(?:OR\s+\w+|IGNORE|LOW_PRIORITY|HIGH_PRIORITY|DELAYED) \s+)* (?:INTO\s+)?
      | REPLACE \s+ (?:(?:LOW_PRIORITY|DELAYED) \s+)? (?:INTO\s+)?
      | MERGE \s+ INTO \s+ (?:ONLY\s+)?
      | (?<!FOR\ ) UPDATE \s+ (?:(?:OR\s+\w+|ONLY|IGNORE|LOW_PRIORITY) \s+)*
      | DELETE \s+ (?:(?:LOW_PRIORITY|QUICK|IGNORE) \s+)* (?:{_NAME}\s+)? FROM \s+ (?:ONLY\s+)?
    ) {_TABLE}
"""
_FLAGS = re.IGNORECASE | re.VERBOSE
_SPACE = r"(?:\s|/\*.*?\*/|--[^\n]*\n|\()*"
# Which carries out what it explains.
_EXPLAIN = r"EXPLAIN\s*(?:\([^()]*\bANALY[SZ]E\b[^()]*\)|\bANALY[SZ]E\b(?:\s+VERBOSE\b)?)\s*"
_VERB = r"(?P<verb>INSERT|REPLACE|MERGE|UPDATE|DELETE|TRUNCATE|WITH)\b"
_FIRST = re.compile(rf"(?s:{_SPACE}) (?:{_EXPLAIN})? {_VERB}", _FLAGS)
_TABLE_TO_EMPTY = rf"(?:ONLY\s+)?{_NAME}(?:\s*\.\s*{_NAME})*(?:\s*\*)?"
_TRUNCATE = re.compile(
    rf"TRUNCATE\s+(?:TABLE\s+)?(?P<tables>{_TABLE_TO_EMPTY}(?:\s*,\s*{_TABLE_TO_EMPTY})*)", _FLAGS
)
_EMPTIED = re.compile(rf"(?:ONLY\s+)?{_TABLE}", _FLAGS)
_ONE = re.compile(_WRITE, _FLAGS)
_ANY = re.compile(rf"\b{_WRITE}", _FLAGS)
_PART = re.compile(_NAME)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A statement that writes.

    Attributes:
        verb: its first word.
        tables: what it writes to, as `table_key` writes them.
        is_several: whether it is several in one, of which the database tells how many rows the first changed.
    """

    verb: str
    tables: tuple[str, ...]
    is_several: bool = False


def as_text(sql: Any, connection: Any) -> str:
    """Return a statement, also one that psycopg composes, as text; empty where it can be none."""
    if isinstance(sql, str):
        return sql
    return str(sql.as_string(connection.connection)) if hasattr(sql, "as_string") else ""


def parse(sql: str) -> Statement | None:
    """Return what a statement, or several in one, write to; None when none does, or nobody could say what."""
    if ";" not in sql[:SEVERAL].rstrip().rstrip(";"):
        return _parse_one(sql)
    first = _FIRST.match(sql, 0, BEGINNING)
    if first is not None and first["verb"].upper() == "WITH":
        return _parse_one(sql, is_several=True)  # of which it is not clear where the first one ends
    found = [each for part in sql[:SEVERAL].split(";") if (each := _parse_one(part, is_several=True))]
    if not found:
        return None
    return replace(found[0], tables=tuple(dict.fromkeys(table for each in found for table in each.tables)))


def _parse_one(sql: str, *, is_several: bool = False) -> Statement | None:
    first = _FIRST.match(sql, 0, BEGINNING)
    if first is None:
        return None
    verb = first["verb"].upper()
    start = first.start("verb")
    tables = tuple(dict.fromkeys(map(table_key, _names(sql, verb, start))))
    return Statement(verb=verb, tables=tables, is_several=is_several) if tables else None


def _names(sql: str, verb: str, start: int) -> Iterator[str]:
    """Yield the names of the tables that a statement writes to."""
    if verb == "WITH":
        yield from (each["table"] for each in _ANY.finditer(sql, start, SEVERAL))
    elif verb == "TRUNCATE":
        emptied = _TRUNCATE.match(sql, start, SEVERAL)
        yield from (each["table"] for each in _EMPTIED.finditer(emptied["tables"] if emptied else ""))
    elif one := _ONE.match(sql, start, start + BEGINNING):
        yield one["table"]


def table_key(name: str) -> str:
    """Return a table's name without schema, quotes and case."""
    *_, last = _PART.findall(name)
    return str(last).strip('"`[]').lower()
