"""What is done about findings, by mode."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

from warmer import applying, pending
from warmer.bypass.findings import Finding
from warmer.bypass.modes import Mode
from warmer.changes import EVERY_KEY
from warmer.collected import Committed
from warmer.exceptions import BypassError, BypassWarning

# The package's name, not this file's: it is the one that projects name in `LOGGING`.
logger = logging.getLogger("warmer.bypass")

# Python's memory of which places were warned about already.
_warned: dict[Any, Any] = {}


def act(found: Sequence[Finding], *, how: Mode, connection: Any, before_commit: bool = False) -> None:
    """Do what a mode asks for about bypasses on one connection.

    Args:
        before_commit: their transaction is about to be committed, and may fail to be.

    Raises:
        BypassError: there is one, and the mode is "raise".
    """
    if how == "warn":
        _warn(found)
    elif how == "raise":
        raise BypassError("\n".join(map(str, found)))
    elif how == "invalidate":
        _invalidate(found, connection=connection, before_commit=before_commit)


def _warn(found: Sequence[Finding]) -> None:
    for each in found:
        logger.warning("%s", each)
    for each in found:
        where = each.write.origin
        warnings.warn_explicit(BypassWarning(str(each)), None, where.path, where.line, registry=_warned)


def _invalidate(found: Sequence[Finding], *, connection: Any, before_commit: bool) -> None:
    specs = {spec for each in found for spec in each.jobs}
    committed = Committed(ids=dict.fromkeys(specs, EVERY_KEY), using=connection.alias)
    for each in found:
        logger.warning("%s All of their keys are invalidated.", each)
    if before_commit:
        pending.call_first(connection, lambda: applying.apply(committed))
    else:
        applying.apply(committed)
