"""Transactions that end in other ways than by a commit of Django's."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import transaction


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
