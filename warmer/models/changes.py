"""Records of changes: which rows changed, or which keys to invalidate, until this is applied."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import models
from django.db.models import Func, Q
from django.db.models.functions import Now
from django.db.models.signals import pre_save
from django.dispatch import receiver
from django.utils.deconstruct import deconstructible

from warmer.declarations.spec import MAX_NAME_LENGTH
from warmer.models.routing import PrimaryManager, Row, atomic_for


@deconstructible(path="warmer.models.changes.CurrentTransaction")
class CurrentTransaction(Func):
    """The id of the open transaction on PostgreSQL; null on other databases, which provide none."""

    output_field = models.BigIntegerField()
    template = "NULL"

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Return SQL for PostgreSQL."""
        text = "(pg_current_xact_id()::text::bigint)"
        return self.as_sql(compiler, connection, template=text, **context)


class ChangeRecord(models.Model):
    """A change that requires an invalidation, written in the transaction of the change.

    A database trigger sets only `source` and `rows`, so every other column has a database default.
    """

    xact = models.BigIntegerField(
        null=True, editable=False, db_default=CurrentTransaction(), help_text="The transaction of the change."
    )
    source = models.TextField(
        db_default="", help_text="The table that changed, with the columns that were compared, if any."
    )
    key = models.TextField(
        db_default="", help_text="The declared key of a job whose invalidation was requested."
    )
    rows = models.TextField(
        null=True, help_text="JSON: the changed rows before and after, or ids; null: every key."
    )
    recorded_at = models.DateTimeField(db_default=Now())
    applied_at = models.DateTimeField(null=True)
    applied_by = models.CharField(
        max_length=32, db_default="", help_text="The fingerprint of the process that applied it."
    )

    class Meta:
        default_permissions = ()
        indexes = [
            models.Index(fields=["xact"], condition=Q(applied_at=None), name="warmer_change_unapplied"),
        ]

    def __str__(self) -> str:
        return f"change {self.pk} of {self.source or self.key}"


@receiver(pre_save, sender=ChangeRecord, dispatch_uid="warmer.changes")
def _number_anew(instance: ChangeRecord, raw: bool, **_: Any) -> None:
    """Give a record of a fixture a new id: a later record would get its own from the sequence, and fail."""
    if raw:
        instance.pk = None


MOST_SERVERS = 16
"""How many incarnations of a server are kept for each job."""


class ServersQuerySet(models.QuerySet["JobServers"]):
    """Servers on which jobs are known."""

    @contextmanager
    def reached(self, server: str, jobs: Collection[str], *, is_change: bool) -> Iterator[dict[str, str]]:
        """Yield the jobs that are not known on a server, each with the servers on which it is known.

        At the end all are known on this one. Until then other processes wait.

        Args:
            server: the incarnation of the server that the jobs' cache reaches.
            jobs: their names.
            is_change: this process reached another server before. Then only the newest known server counts.
                Otherwise all do: two processes that reach different servers, as in a network partition, must
                not keep alternating.
        """
        with atomic_for(self.model):
            rows = self.select_for_update().filter(job__in=jobs).order_by("job")
            known = {row.job: row.servers for row in rows}
            # A server forgets after a while what a promotion added to its id, so the start of an id is known,
            # too.
            counted = {job: text.split()[-1] if is_change else text for job, text in known.items()}
            new = [job for job in jobs if server not in counted.get(job, "")]
            yield {job: known.get(job, "") for job in new}
            for job in new:
                others = [each for each in known.get(job, "").split() if each != server]
                servers = [*others, server][-MOST_SERVERS:]
                self.update_or_create(job=job, defaults={"servers": " ".join(servers)})

    def begin(self, server: str, jobs: Collection[str]) -> None:
        """Record the server of new jobs, which cannot have old keys yet."""
        rows = [JobServers(job=job, servers=server) for job in jobs]
        self.bulk_create(rows, ignore_conflicts=True)


class JobServers(Row):
    """The servers on which a job is known; on any other, its keys may be outdated."""

    job = models.CharField(max_length=MAX_NAME_LENGTH, unique=True)
    servers = models.TextField(help_text="The incarnations of its cache's server, the newest last.")

    objects = PrimaryManager.from_queryset(ServersQuerySet)()

    def __str__(self) -> str:
        return f"the servers of {self.job}"
