"""What the triggers of a table record: for each set of compared columns, the columns of a changed row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from warmer.invalidation.sources import Source, source_name

EVENTS = ("insert", "update", "delete", "truncate")
_MARK = "warmer 1 "


@dataclass(frozen=True, kw_only=True)
class Block:
    """One kind of record that the triggers of a table write.

    Attributes:
        compared: an update is recorded if it changes one of these columns. None: every update is.
        columns: the columns that are recorded.
    """

    compared: tuple[str, ...] | None
    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What the triggers of a table record."""

    table: str
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, table: str, sources: Iterable[Source]) -> Definition:
        """Return what some sources, all of one table, need."""
        blocks = [Block(compared=each.compared, columns=each.columns) for each in sources]
        return cls(table=table, blocks=_ordered(blocks))

    @classmethod
    def from_comment(cls, table: str, comment: str | None) -> Definition | None:
        """Read back what `comment` wrote; None where somebody else wrote it."""
        if not comment or _MARK not in comment:
            return None
        try:
            found = json.JSONDecoder().raw_decode(comment[comment.index(_MARK) + len(_MARK) :])[0]
            blocks = [
                Block(compared=None if compared is None else tuple(compared), columns=tuple(columns))
                for compared, columns in found
            ]
        except (ValueError, TypeError):
            return None
        return cls(table=table, blocks=_ordered(blocks))

    @property
    def comment(self) -> str:
        """What stands beside the triggers, by which another release knows what they record."""
        return _MARK + json.dumps([[block.compared, block.columns] for block in self.blocks])

    def name(self, block: Block) -> str:
        """Return what a block's records call their source."""
        return source_name(self.table, block.compared)

    def merged(self, other: Definition | None) -> Definition:
        """Return what records all that one or the other records."""
        if other is None:
            return self
        columns: dict[Any, set[str]] = {}
        for block in (*self.blocks, *other.blocks):
            columns.setdefault(block.compared, set()).update(block.columns)
        blocks = [Block(compared=each, columns=tuple(sorted(names))) for each, names in columns.items()]
        return Definition(table=self.table, blocks=_ordered(blocks))

    def limited_to(self, columns: Iterable[str]) -> Definition:
        """Return what a table with these columns can record: one that is gone would be every key for good."""
        known = set(columns)
        blocks = [
            Block(compared=block.compared, columns=tuple(name for name in block.columns if name in known))
            for block in self.blocks
            if known.issuperset(block.compared or ())
        ]
        return Definition(table=self.table, blocks=_ordered(blocks))

    def covers(self, other: Definition) -> bool:
        """Return whether it records all that the other does."""
        return self.merged(other) == self


def _ordered(blocks: Iterable[Block]) -> tuple[Block, ...]:
    return tuple(sorted(blocks, key=lambda block: (block.compared is not None, block.compared or ())))


@dataclass(frozen=True, kw_only=True)
class Installed:
    """The triggers of a table as the database has them.

    Attributes:
        definition: what they record; None: not known.
        is_outdated: whether they name columns that the table no longer has.
        events: those that are recorded, of `EVENTS`; without disabled triggers.
        partitions: the partitions of the table that lack a trigger.
        is_capturable: whether it is a table that can have our triggers.
        schema: its schema, quoted.
        keys: the columns of its primary key.
        records: the table of records, quoted.
    """

    definition: Definition | None = None
    is_outdated: bool = False
    events: frozenset[str] = frozenset()
    partitions: tuple[str, ...] = ()
    is_capturable: bool = True
    schema: str = ""
    keys: tuple[str, ...] = ()
    records: str = ""


Found = Mapping[str, Installed]


def literal(text: str) -> str:
    """Return a text as a string of standard SQL."""
    return "'" + text.replace("'", "''") + "'"


def sql(name: str, /, **values: object) -> str:
    """Return an SQL file of this folder, without its header and with values in their places."""
    lines = files(__package__).joinpath(f"{name}.sql").read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("--")).format(**values)
