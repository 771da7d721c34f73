"""The tables that jobs depend on, as statements name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from warmer.bypass.statements import table_key
from warmer.registry import Concern, jobs

OWN = "warmer."

Tables = Mapping[str, tuple[Concern, ...]]


@dataclass(frozen=True, kw_only=True)
class _Known:
    """The concerns by the tables' names in models, and by their names in statements."""

    by_name: Tables
    by_key: Tables


_known = _Known(by_name={}, by_key={})


def concerns_by_key() -> Tables:
    """Return the concerns by their tables, as statements name these; our own tables are left out."""
    global _known
    by_name = jobs.tables()
    known = _known
    if known.by_name is not by_name:
        by_key = {
            table_key(name): tuple(each for each in concerns if not each.dependency.label.startswith(OWN))
            for name, concerns in by_name.items()
        }
        _known = known = _Known(by_name=by_name, by_key=by_key)
    return known.by_key
