"""What is done about bypasses, by mode."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from warmer import invalidation
from warmer.bypass.findings import Bypass
from warmer.bypass.modes import Mode
from warmer.changes import EVERY_KEY
from warmer.exceptions import BypassError, BypassWarning
from warmer.pending import Committed

# Named for the package: projects name it in their logging.
logger = logging.getLogger("warmer.bypass")


def warn(found: Sequence[Bypass], _connection: Any, _before_commit: bool) -> None:
    for bypass in found:
        logger.warning("%s", bypass)
    for bypass in found:
        where = bypass.origin
        warnings.warn_explicit(BypassWarning(str(bypass)), None, where.path, where.line, registry=_warned)


def _raise(found: Sequence[Bypass], _connection: Any, _before_commit: bool) -> None:
    raise BypassError("\n".join(map(str, found)))


def invalidate(found: Sequence[Bypass], connection: Any, before_commit: bool) -> None:
    specs = {spec for bypass in found for spec in bypass.jobs}
    committed = Committed(ids=dict.fromkeys(specs, EVERY_KEY), using=connection.alias)
    for bypass in found:
        logger.warning("%s All of their keys are invalidated.", bypass)
    if before_commit:
        after = (set(connection.savepoint_ids), lambda: invalidation.apply(committed), True)
        connection.run_on_commit.append(after)
    else:
        invalidation.apply(committed)


ACTIONS: dict[Mode, Callable[[Sequence[Bypass], Any, bool], None]] = {
    "off": lambda _found, _connection, _before_commit: None,
    "warn": warn,
    "raise": _raise,
    "invalidate": invalidate,
}

# Python's memory of which places were warned about already.
_warned: dict[Any, Any] = {}
