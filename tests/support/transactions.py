"""Transactions that end in other ways than by a commit of Django's."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import connections, transaction

from warmer.invalidation.transactions import watcher


class Rollback(Exception):
    """Rolls a transaction back."""


@contextmanager
def rolled_back() -> Iterator[None]:
    """Run a block in a transaction, or a savepoint, and roll it back."""
    with suppress(Rollback), transaction.atomic():
        yield
        raise Rollback


@contextmanager
def managed_by_hand() -> Iterator[None]:
    """Run a block in a transaction of which Django is not told the end."""
    transaction.set_autocommit(False)
    try:
        yield
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


@contextmanager
def unwatched(using: str = "default") -> Iterator[None]:
    """Run statements that are not seen in this process, as those of another program."""
    found, wrappers = watcher(using), connections[using].execute_wrappers
    is_watched = found in wrappers
    if is_watched:
        wrappers.remove(found)
    try:
        yield
    finally:
        if is_watched and found not in wrappers:
            wrappers.insert(0, found)
