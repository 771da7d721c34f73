"""Where our own rows are read and written: always on one database, whatever the router says of reads.

A replica lags, so a read from it may not find the row that was just written.
"""

from __future__ import annotations

from typing import TypeVar

from django.db import models, router, transaction

M = TypeVar("M", bound=models.Model)


class PrimaryManager(models.Manager[M]):
    """Reads rows where they are written."""

    def get_queryset(self) -> models.QuerySet[M]:
        """Return all rows, on the database that the router gives for writes."""
        found = super().get_queryset()
        return found if self._db else found.using(router.db_for_write(self.model))


def atomic_for(model: type[models.Model]) -> transaction.Atomic:
    """Return a transaction on the database where a model is written."""
    return transaction.atomic(using=router.db_for_write(model))


def rows_of(model: type[M]) -> models.QuerySet[M]:
    """Return the rows of another app's model, on the database where it is written."""
    return model._default_manager.using(router.db_for_write(model))
