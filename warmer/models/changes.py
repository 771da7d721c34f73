"""Records of changes: which rows changed, or which keys to invalidate, until that was applied."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Func, Q
from django.db.models.functions import Now
from django.utils.deconstruct import deconstructible


@deconstructible(path="warmer.models.changes.CurrentTransaction")
class CurrentTransaction(Func):
    """The id of the open transaction on PostgreSQL; null on other databases, which have none to ask for."""

    output_field = models.BigIntegerField()

    def as_sql(self, compiler: Any, connection: Any, **_context: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        """Return SQL for a database that does not number its transactions."""
        return "NULL", []

    def as_postgresql(self, compiler: Any, connection: Any, **_context: Any) -> tuple[str, list[Any]]:
        """Return SQL for PostgreSQL."""
        return "(pg_current_xact_id()::text::bigint)", []


class ChangeRecord(models.Model):
    """A change that asks for an invalidation. It is written in the transaction of the change.

    A database trigger names `source` and `rows` only, so every other column has a database default.
    """

    xact = models.BigIntegerField(
        null=True, editable=False, db_default=CurrentTransaction(), help_text="The transaction of the change."
    )
    source = models.TextField(
        db_default="", help_text="The table that changed, with the columns that were compared, if any."
    )
    key = models.TextField(
        db_default="", help_text="The key, as declared, of a job that was asked to invalidate."
    )
    rows = models.TextField(
        null=True, help_text="JSON: the changed rows, as they were and as they are, or ids; null: every key."
    )
    recorded_at = models.DateTimeField(db_default=Now())
    applied_at = models.DateTimeField(null=True)
    applied_by = models.CharField(
        max_length=32, db_default="", help_text="The fingerprint of the process that applied it."
    )

    class Meta:
        default_permissions = ()
        indexes = [
            models.Index(fields=["id"], condition=Q(applied_at__isnull=True), name="warmer_change_unapplied"),
            models.Index(fields=["xact"], condition=Q(applied_at__isnull=True), name="warmer_change_xact"),
        ]

    def __str__(self) -> str:
        return f"change {self.pk} of {self.source or self.key}"
