"""A job's entry in beat: how it is found, and what it says."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django_celery_beat.models import PeriodicTask

from warmer.tasks import scheduled_run

# An entry has one of these.
KINDS = ("interval", "crontab", "solar", "clocked")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A job's entry as beat has it.

    Attributes:
        every: what it says, e.g. "every 15 minutes".
        enabled: whether beat sends it.
        due: when it is due next; None when it is not enabled.
    """

    every: str
    enabled: bool
    due: datetime | None


def entry_name(job: str) -> str:
    """Return the name of a job's entry."""
    return f"warm {job}"


def entries(jobs: Iterable[str] | None = None) -> dict[str, Entry]:
    """Return the entry of each job that has one, or of some jobs, in one query."""
    tasks = job_tasks()
    if jobs is not None:
        tasks = tasks.filter(name__in=[entry_name(job) for job in jobs])
    return {job: _entry(task) for job, task in by_job(tasks).items()}


def paused() -> set[str]:
    """Return the jobs whose entry is switched off, in one query."""
    tasks = PeriodicTask.objects.filter(task=scheduled_run.name, enabled=False).values_list("name", "args")
    return {job for name, args in tasks if (job := job_of(args)) is not None and name == entry_name(job)}


def job_tasks() -> QuerySet[Any]:
    """Return what beat has for jobs, also under names that an operator gave."""
    tasks: QuerySet[Any] = PeriodicTask.objects.filter(task=scheduled_run.name)
    return tasks.select_related(*KINDS)


def by_job(tasks: Iterable[PeriodicTask]) -> dict[str, PeriodicTask]:
    """Return tasks by the job that they name, without those that name none."""
    return {job: task for task in tasks if (job := job_of(task.args)) is not None}


def job_of(args: str) -> str | None:
    """Return the job that an entry's arguments name; None when an operator wrote something else there."""
    try:
        (job,) = json.loads(args)
    except (ValueError, TypeError):
        return None
    return job if isinstance(job, str) else None


def _entry(task: PeriodicTask) -> Entry:
    due = None
    if task.enabled:
        last = task.last_run_at or task.date_changed
        schedule = task.schedule
        due = last + schedule.remaining_estimate(last) + (schedule.now() - last)
    return Entry(every=str(task.scheduler), enabled=task.enabled, due=due)
