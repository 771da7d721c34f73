"""Audits as they are kept in the database: the last ones of each job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

from django.db.models import Max

from warmer.models import CacheAudit, Trigger
from warmer.monitoring.audit.findings import COUNTED, Audit, WrongKey
from warmer.report import Failure

# At an audit an hour, the last four days.
KEPT_PER_JOB = 100
_KEPT = ("whole", "sampled", *COUNTED, "undeclared", "repaired", "queries", "error")


def keep(found: Audit, trigger: Trigger, *, began: datetime) -> None:
    """Keep a result in the database, and forget the oldest of the job."""
    CacheAudit.objects.create(
        job=found.job,
        trigger=trigger,
        started_at=began,
        wrong_keys=[asdict(each) for each in found.wrong_keys],
        failures=[asdict(each) for each in found.failures],
        **{name: getattr(found, name) for name in _KEPT},
    )
    of_job = CacheAudit.objects.filter(job=found.job)
    surplus = of_job.order_by("-pk").values_list("pk", flat=True)[KEPT_PER_JOB : KEPT_PER_JOB + 1]
    for last in surplus:
        of_job.filter(pk__lte=last).delete()


def kept(row: CacheAudit) -> Audit:
    """Return an audit as it was kept."""
    return Audit(
        job=row.job,
        seconds=(row.finished_at - row.started_at).total_seconds(),
        wrong_keys=tuple(WrongKey(key=each["key"], fields=tuple(each["fields"])) for each in row.wrong_keys),
        failures=tuple(Failure(**each) for each in row.failures),
        **{name: getattr(row, name) for name in _KEPT},
    )


def last_audits(names: Iterable[str]) -> dict[str, CacheAudit]:
    """Return the last audit of each job that had one, in one query."""
    newest = CacheAudit.objects.filter(job__in=list(names)).values("job").annotate(last=Max("pk"))
    rows = CacheAudit.objects.filter(pk__in=newest.values("last"))
    return {row.job: row for row in rows}
