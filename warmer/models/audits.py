"""The results of audits."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db import models
from django.db.models import Exists, F, OuterRef
from django.utils import timezone

from warmer.declarations.spec import MAX_NAME_LENGTH
from warmer.humanize import percent
from warmer.models.routing import JobQuerySet, PrimaryManager, Row, atomic_for
from warmer.models.runs import Trigger, WarmingRun

# The triggers of audits.
TRIGGERS = [(each.value, each.label) for each in (Trigger.SCHEDULE, Trigger.ADMIN, Trigger.COMMAND)]


class Verdict(StrEnum):
    """The verdict of an audit on one key."""

    RIGHT = "right"
    WRONG = "wrong"
    MISSING = "missing"
    NO_VALUE = "no_value"
    CHANGED = "changed"
    FAILED = "failed"


class AuditQuerySet(JobQuerySet["CacheAudit"]):
    """Audits of jobs."""

    def with_wrong_keys(self, jobs: Iterable[str]) -> AuditQuerySet:
        """Return the last audits of jobs that found wrong keys, until these are marked as repaired."""
        return self.filter(pk__in=self.latest_ids(jobs), wrong__gt=F("repaired"))

    def note_repairs(self, jobs: Iterable[str]) -> None:
        """Mark the wrong keys of last audits as repaired if a complete run has written every key since."""
        full = WarmingRun.objects.complete_and_full(OuterRef("job"))
        corrected = full.filter(skipped=0, started_at__gt=OuterRef("finished_at"))
        found = self.with_wrong_keys(jobs).filter(Exists(corrected), undeclared=0)
        self.filter(pk__in=list(found.values_list("pk", flat=True))).update(repaired=F("wrong"))

    def mark_repaired(self, jobs: Iterable[str], *, before: datetime) -> None:
        """Record that the wrong keys of jobs were invalidated, if their last audit ended before a time."""
        last = self.filter(pk__in=self.latest_ids(jobs), finished_at__lt=before)
        with atomic_for(self.model):  # an error does not affect the open transaction of the project
            last.update(repaired=F("wrong"))


class CacheAudit(Row):
    """The result of an audit of a job: cached values compared with what the loader returned."""

    job = models.CharField(max_length=MAX_NAME_LENGTH)
    trigger = models.CharField(max_length=10, choices=TRIGGERS)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(default=timezone.now)
    whole = models.BooleanField(default=True, help_text="Every declared key was compared, not a sample.")
    sampled = models.PositiveBigIntegerField(default=0, help_text="The sum of the next six counts.")
    right = models.PositiveBigIntegerField(
        default=0, help_text="Cached, and equal to what the loader returns."
    )
    wrong = models.PositiveBigIntegerField(
        default=0, help_text="Cached, but different from what the loader returns."
    )
    missing = models.PositiveBigIntegerField(default=0, help_text="Not cached: cold, not wrong.")
    no_value = models.PositiveBigIntegerField(default=0, help_text="Not cached, and the loader has no value.")
    changed = models.PositiveBigIntegerField(default=0, help_text="Changed during the audit: not compared.")
    failed = models.PositiveBigIntegerField(default=0, help_text="Could not be loaded or compared.")
    undeclared = models.PositiveBigIntegerField(default=0, help_text="How many only readers had cached.")
    repaired = models.PositiveBigIntegerField(default=0, help_text="How many wrong keys were invalidated.")
    queries = models.PositiveBigIntegerField(default=0)
    note = models.TextField(blank=True, help_text="What was not compared, and why.")
    error = models.TextField(blank=True, help_text="Why it ended early.")
    wrong_keys = models.JSONField(default=list, blank=True, help_text="The first, with what differs.")
    failures = models.JSONField(default=list, blank=True)

    objects = PrimaryManager.from_queryset(AuditQuerySet)()

    class Meta(Row.Meta):
        ordering = ["-id"]
        default_permissions = ("view",)
        verbose_name = "audit"
        indexes = [models.Index(fields=["job", "-id"], name="warmer_audit_job")]

    def __str__(self) -> str:
        return f"audit {self.pk} of {self.job}"

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, and nothing failed."""
        return not (self.wrong or self.failed or self.error)

    @property
    def unrepaired(self) -> int:
        """How many wrong keys it found that were not repaired since."""
        return self.wrong - self.repaired

    @property
    def needs_attention(self) -> bool:
        """Whether something failed, or is wrong and was not repaired since."""
        return bool(self.unrepaired or self.failed or self.error)

    @property
    def right_at_least(self) -> float | None:
        """The right share of the judged keys; of a sample without wrong keys, its limit at 95 % confidence.

        None if nothing was judged. Missing keys are not judged: they are cold, not wrong.

        If none of n is wrong, at most 3/n are, the rule of three: J. A. Hanley and A. Lippman-Hand, "If
        nothing goes wrong, is everything all right?", JAMA 249 (1983), 1743-1745.
        """
        judged = self.right + self.wrong
        unknown = 0 if self.whole or self.wrong else 3
        return max(0.0, (self.right - unknown) / judged) if judged else None

    @property
    def share(self) -> str:
        """That share as text."""
        share = self.right_at_least
        if share is None:
            return "nothing judged"
        if self.whole or self.wrong:
            return percent(share)
        return f"at least {percent(share)}" if share else "too few to tell"

    def as_dict(self) -> dict[str, Any]:
        """Return the audit as plain data."""
        hidden = ("id", "trigger", "started_at", "finished_at")
        fields = [field.name for field in self._meta.concrete_fields if field.name not in hidden]
        return {name: getattr(self, name) for name in fields} | {
            "seconds": (self.finished_at - self.started_at).total_seconds(),
            "share": self.share,
            "right_at_least": self.right_at_least,
        }
