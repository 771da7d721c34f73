"""Define what the triggers of a table record: for each set of compared columns, columns of a changed row."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files

from warmer.invalidation.sources import Compared

EVENTS = ("insert", "update", "delete", "truncate")
MARK = "warmer 1 "
"""The start of the definition's text."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What the triggers of a table record: columns, for each set of compared columns.

    An update is recorded if it changes one of the compared columns. None: every update is.
    """

    columns: Mapping[Compared, tuple[str, ...]]

    @classmethod
    def from_comment(cls, comment: str | None) -> Definition | None:
        """Parse the result of `comment`; None if something else wrote it."""
        try:
            found = json.JSONDecoder().raw_decode((comment or "").partition(MARK)[2])[0]
            return cls(columns={compared and tuple(compared): tuple(names) for compared, names in found})
        except (TypeError, ValueError):
            return None

    @property
    def comment(self) -> str:
        """The definition as text stored with the triggers, for other releases to read."""
        return MARK + json.dumps(sorted(self.columns.items(), key=str))

    def merged(self, other: Definition | None) -> Definition:
        """Return a definition that records everything that either of the two records."""
        columns = dict(self.columns)
        for compared, names in (other.columns if other else {}).items():
            columns[compared] = tuple(sorted({*columns.get(compared, ()), *names}))
        return Definition(columns=columns)

    def limited_to(self, known: Collection[str]) -> Definition:
        """Return what these columns of a table can record. A lost column would always mean every key."""
        columns = {
            compared: tuple(name for name in names if name in known)
            for compared, names in self.columns.items()
            if {*known}.issuperset(compared or ())
        }
        return Definition(columns=columns)


@dataclass(frozen=True, kw_only=True)
class Installed:
    """The triggers of a table in the database.

    Attributes:
        is_table: whether it is one; a view and a foreign table cannot have these triggers.
        definition: what they record; None: unknown.
        is_outdated: whether they name columns that the table no longer has.
        events: those that are recorded, of `EVENTS`; without disabled triggers.
        partitions: the partitions of the table that lack a trigger.
        drop: the statements that remove them all.
        schema: its schema, quoted.
        owner: its owner, quoted, if the triggers' function cannot write records.
        records: the table of records, quoted.
    """

    is_table: bool = True
    definition: Definition | None = None
    is_outdated: bool = False
    events: frozenset[str] = frozenset()
    partitions: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    schema: str = ""
    owner: str = ""
    records: str = ""


def split_name(table: str) -> tuple[str, str]:
    """Return the schema and the name of a table.

    Args:
        table: a `db_table`. Without `schema"."table` in it, the schema is empty: the search_path finds it.
    """
    schema, _, name = table.removeprefix('"').removesuffix('"').rpartition('"."')
    return schema, name


def literal(text: str) -> str:
    """Return a string literal of standard SQL."""
    return "'" + text.replace("'", "''") + "'"


def sql(name: str, /, **values: object) -> str:
    """Return an SQL file of this folder, without its header and with values filled in."""
    lines = files(__package__).joinpath(f"{name}.sql").read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("--")).format(**values)
