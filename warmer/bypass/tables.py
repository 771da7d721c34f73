"""The tables that jobs depend on, as statements name them."""

from __future__ import annotations

from collections.abc import Mapping

from warmer.bypass.statements import table_key
from warmer.registry import Concern, jobs

OWN = "warmer."

_by_key: tuple[Mapping[str, tuple[Concern, ...]], dict[str, tuple[Concern, ...]]] = ({}, {})


def concerns_by_key() -> dict[str, tuple[Concern, ...]]:
    """Return the concerns by their tables, as statements name these; our own tables are left out."""
    global _by_key
    tables = jobs.tables()
    if _by_key[0] is not tables:
        keys = {
            table_key(name): tuple(each for each in concerns if not each.dependency.label.startswith(OWN))
            for name, concerns in tables.items()
        }
        _by_key = (tables, keys)
    return _by_key[1]
