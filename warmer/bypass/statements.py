"""SQL statements that write: what they do, and to which tables.

Nothing here understands SQL: the beginning of a statement tells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
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
_FIRST = re.compile(rf"(?s:{_SPACE}) (?P<verb>INSERT|REPLACE|MERGE|UPDATE|DELETE|WITH)\b", _FLAGS)
_ONE = re.compile(_WRITE, _FLAGS)
_ANY = re.compile(rf"\b{_WRITE}", _FLAGS)
_PART = re.compile(_NAME)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A statement that writes.

    Attributes:
        verb: its first word.
        tables: what it writes to, as `table_key` writes them.
    """

    verb: str
    tables: tuple[str, ...]


def as_text(sql: Any, connection: Any) -> str:
    """Return a statement, also one that psycopg composes, as text; empty where it can be none."""
    if isinstance(sql, str):
        return sql
    return str(sql.as_string(connection.connection)) if hasattr(sql, "as_string") else ""


def parse(sql: str) -> Statement | None:
    """Return what a statement writes to; None when it does not write, or nobody could say what."""
    first = _FIRST.match(sql, 0, BEGINNING)
    if first is None:
        return None
    verb = first["verb"].upper()
    start = first.start("verb")
    if verb == "WITH" or ";" in sql[:SEVERAL]:
        every = _ANY.finditer(sql, start, SEVERAL)
        tables = tuple(dict.fromkeys(table_key(each["table"]) for each in every))
    else:
        one = _ONE.match(sql, start, start + BEGINNING)
        tables = () if one is None else (table_key(one["table"]),)
    return Statement(verb=verb, tables=tables) if tables else None


def table_key(name: str) -> str:
    """Return a table's name without schema, quotes and case."""
    *_, last = _PART.findall(name)
    return str(last).strip('"`[]').lower()
