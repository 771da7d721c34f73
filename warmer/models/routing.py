"""Read and write our own rows on one database, even if the router sends reads elsewhere.

A replica lags, so a read from it may not find a row that was just written.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar, TypeVar

from django.db import connections, models, router, transaction
from django.db.models import Max

M = TypeVar("M", bound=models.Model)
View = TypeVar("View", bound=Callable[..., Any])


class PrimaryManager(models.Manager[M]):
    """Reads rows from the database where they are written."""

    def get_queryset(self) -> models.QuerySet[M]:
        """Return all rows, on the database that the router gives for writes."""
        found = super().get_queryset()
        return found if self._db else found.using(router.db_for_write(self.model))


class Row(models.Model):
    """An abstract base of warmer's tables: read from the primary, without permissions."""

    class Meta:
        abstract = True
        base_manager_name = "objects"
        default_permissions: ClassVar[tuple[str, ...]] = ()


class JobQuerySet(models.QuerySet[M]):
    """Queries by job, for a model with several rows per job."""

    def latest_ids(self, jobs: Iterable[str]) -> models.QuerySet[Any, int]:
        """Return the id of the newest row of each job that has one."""
        by_job = self.filter(job__in=list(jobs)).order_by().values("job")
        return by_job.annotate(latest=Max("id")).values_list("latest", flat=True)

    def latest_per_job(self, jobs: Iterable[str]) -> dict[str, M]:
        """Return the newest row of each job that has one, in one query."""
        newest: Any = self.filter(pk__in=self.latest_ids(jobs))
        return {row.job: row for row in newest}

    def forget(self, *, before: datetime, newest_of: Iterable[str]) -> int:
        """Delete the rows that ended before a time, except the newest of each given job; return how many."""
        old = self.filter(finished_at__lt=before).exclude(pk__in=list(self.latest_ids(newest_of)))
        return old.delete()[1].get(self.model._meta.label, 0)


def atomic_for(model: type[models.Model]) -> transaction.Atomic:
    """Return a transaction on the database where a model is written."""
    return transaction.atomic(using=router.db_for_write(model))


def put_row(rows: models.QuerySet[M], which: Mapping[str, Any], **values: Any) -> None:
    """Update a row, which may not exist yet: one query, or four the first time."""
    found = rows.filter(**which)
    if not found.update(**values):
        rows.get_or_create(**which)
        found.update(**values)


def outside_transactions(view: View) -> View:
    """Make Django call a view outside of transactions, even with ATOMIC_REQUESTS."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


def rows_of(model: type[M]) -> models.QuerySet[M]:
    """Return the rows of another app's model, on the database where it is written."""
    return model._default_manager.using(router.db_for_write(model))
