"""The sync: beat's entries follow the declared jobs.

Code declares an interval, an operator may change it, and both are kept apart: `JobSchedule` holds what
code declared at the last sync. An entry that differs from it was edited, and is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from django.db import connection, transaction
from django_celery_beat.models import PeriodicTask

from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.models import JobSchedule
from warmer.schedule.entry import by_job, entry_name, job_tasks
from warmer.schedule.timings import interval, seconds_of
from warmer.schedule.upkeep import UPKEEP
from warmer.tasks import audit_sample, scheduled_run

# `JobSchedule` keeps its declared interval beside the jobs'; no job can have this name.
AUDIT = "warmer: audit a sample"


class Action(StrEnum):
    """What a sync did with a job's entry."""

    CREATED = "created"
    UPDATED = "updated"
    KEPT = "kept"
    EDITED = "kept as an operator set it"
    REMOVED = "removed"


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What a sync did for one job."""

    job: str
    action: Action


def sync() -> list[Synced]:
    """Bring beat's entries in line with the declared jobs, and leave alone what an operator changed.

    An entry that is missing is created, one whose job is gone or is no longer scheduled is removed, and
    one whose declared interval changed follows it, unless an operator has set another. Whether an entry
    is enabled is the operator's alone.
    """
    with transaction.atomic():
        declared = {spec.name: spec for spec in jobs.specs() if spec.every is not None}
        done = [sync_job(spec) for spec in declared.values()]
        done += [_remove(job) for job in _known_jobs() - set(declared)]
        for upkeep in UPKEEP:
            _get_or_create(
                upkeep.name,
                round(upkeep.every.total_seconds()),
                task=upkeep.task,
                queue=conf.QUEUE,
                description=upkeep.description,
            )
        _sync_audit()
    return done


def tables_exist() -> bool:
    """Say whether the tables that a sync needs are migrated."""
    tables = set(connection.introspection.table_names())
    return {PeriodicTask._meta.db_table, JobSchedule._meta.db_table} <= tables


def sync_job(spec: JobSpec) -> Synced:
    """Bring one job's entry in line."""
    assert spec.every is not None
    action = _sync_entry(
        spec.name,
        spec.every,
        name=entry_name(spec.name),
        task=scheduled_run.name,
        args=json.dumps([spec.name]),
        queue=spec.queue,
        description="Made from the job's declaration. The interval and 'enabled' are yours to change.",
    )
    return Synced(job=spec.name, action=action)


def _sync_audit() -> None:
    if conf.AUDIT_SAMPLE > 0:
        _sync_entry(
            AUDIT,
            conf.AUDIT_EVERY,
            name=AUDIT,
            task=audit_sample.name,
            queue=conf.QUEUE,
            description="Compares some cached keys of each job with the database, while "
            "WARMER_AUDIT_SAMPLE is set. The interval and 'enabled' are yours to change.",
        )
    else:
        _remove_entries(AUDIT, PeriodicTask.objects.filter(name=AUDIT))


def _sync_entry(job: str, every: timedelta, *, name: str, **fields: Any) -> Action:
    """Create an entry, or have its interval follow the declared one unless an operator set another."""
    seconds = round(every.total_seconds())
    task, is_new = _get_or_create(name, seconds, **fields)
    known = JobSchedule.objects.filter(job=job).first()
    action = Action.KEPT
    if is_new:
        action = Action.CREATED
    elif known is None or seconds_of(task) != known.declared_seconds:
        action = Action.EDITED if seconds_of(task) != seconds else Action.KEPT
    elif known.declared_seconds != seconds:
        task.interval = interval(seconds)
        task.expire_seconds = seconds
        task.save()
        action = Action.UPDATED
    if known is None or known.declared_seconds != seconds:
        JobSchedule.objects.update_or_create(job=job, defaults={"declared_seconds": seconds})
    return action


def _get_or_create(name: str, seconds: int, **fields: Any) -> tuple[PeriodicTask, bool]:
    """Return an entry, and whether it was made just now: with this interval and these fields."""
    made = {"interval": lambda: interval(seconds), "expire_seconds": seconds, **fields}
    tasks = PeriodicTask.objects.select_related("interval")
    task, is_new = tasks.get_or_create(name=name, defaults=made)
    return task, is_new


def _remove(job: str) -> Synced:
    _remove_entries(job, PeriodicTask.objects.filter(task=scheduled_run.name, args=json.dumps([job])))
    return Synced(job=job, action=Action.REMOVED)


def _remove_entries(job: str, entries: Iterable[PeriodicTask]) -> None:
    # One by one, so that beat sees the signal of each and reloads its schedule.
    for task in entries:
        task.delete()
    JobSchedule.objects.filter(job=job).delete()


def _known_jobs() -> set[str]:
    declared = JobSchedule.objects.exclude(job=AUDIT).values_list("job", flat=True)
    return set(by_job(job_tasks())) | set(declared)
