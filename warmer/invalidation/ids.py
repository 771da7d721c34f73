"""Ids of a job: some of them, or every key."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from warmer.declarations.spec import JobSpec
from warmer.keys import Id, plain, type_names
from warmer.report import describe

logger = logging.getLogger(__name__)

_ID_TYPES = (str, int, UUID)


class EveryKey:
    """All keys of a job."""

    def __repr__(self) -> str:
        return "EVERY_KEY"


EVERY_KEY = EveryKey()
Ids = frozenset[Id] | EveryKey
NO_IDS: Ids = frozenset()


def both(one: Ids, other: Ids) -> Ids:
    """Return the ids that are in one or in the other."""
    if isinstance(one, EveryKey) or isinstance(other, EveryKey):
        return EVERY_KEY
    return one | other


def as_ids(value: Any) -> frozenset[Id]:
    """Return the ids that a column or a function gives: one, several, or none for None.

    Raises:
        TypeError: the value is neither an id nor a collection of ids.
    """
    value = plain(value)
    if value is None:
        return frozenset()
    if isinstance(value, _ID_TYPES):
        return frozenset([value])
    # An object that only has `__getitem__` may never end.
    if isinstance(value, bytes) or not isinstance(value, Iterable):
        raise _no_ids(value)
    ids = frozenset(plain(each) for each in value if each is not None)
    for each in ids:
        if not isinstance(each, _ID_TYPES):
            raise _no_ids(each)
    return ids


def every_key_after(error: Exception, spec: JobSpec, subject: str) -> EveryKey:
    """Log why the ids of a job could not be found, and return every key: nothing may stay wrong."""
    logger.error(
        "The ids of %s for the job %s could not be found, so all of its keys are invalidated: %s",
        subject,
        spec.name,
        describe(error),
    )
    return EVERY_KEY


def _no_ids(value: object) -> TypeError:
    kind = type(value).__name__
    return TypeError(f"expected {type_names}, several of them, or None, not a value of type {kind}")
