"""The schedule in django-celery-beat: the only file that imports it.

Code declares an interval, an operator may change it, and both are kept apart: `JobSchedule` holds what
code declared at the last sync. An entry that differs from it was edited, and is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import connection, transaction
from django.db.models import Max
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from warmer.conf import conf
from warmer.crontabs import DAYS_LOOKED_AT, Crontab, Gaps, gaps
from warmer.models import JobObservation, JobSchedule
from warmer.monitoring.facts import Beat, Timing
from warmer.registry import jobs
from warmer.spec import JobSpec
from warmer.tasks import (
    apply_pending,
    audit_sample,
    close_stalled_runs,
    forget_runs,
    observe_jobs,
    scheduled_run,
)


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """Something that `warmer` does for itself."""

    name: str
    task: str
    every: timedelta
    description: str


UPKEEP = (
    Upkeep(
        name="warmer: close stalled runs",
        task=close_stalled_runs.name,
        every=timedelta(minutes=1),
        description="Ends runs whose worker is gone.",
    ),
    Upkeep(
        name="warmer: apply pending invalidations",
        task=apply_pending.name,
        every=timedelta(seconds=15),
        description="Applies invalidations that the cache could not take when their change was committed.",
    ),
    Upkeep(
        name="warmer: observe the jobs",
        task=observe_jobs.name,
        every=timedelta(minutes=1),
        description="Looks how much of each job is cached, how old it is, and how much it is read.",
    ),
    Upkeep(
        name="warmer: forget old runs",
        task=forget_runs.name,
        every=timedelta(days=1),
        description="Deletes the runs that ended longer ago than WARMER_RUN_RETENTION.",
    ),
)

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
            _create(upkeep)
        _sync_audit()
    return done


def tables_exist() -> bool:
    """Say whether the tables that a sync needs are migrated."""
    tables = set(connection.introspection.table_names())
    return {PeriodicTask._meta.db_table, JobSchedule._meta.db_table} <= tables


def entry_name(job: str) -> str:
    """Return the name of a job's entry."""
    return f"warm {job}"


def entries(jobs: Iterable[str] | None = None) -> dict[str, Entry]:
    """Return the entry of each job that has one, or of some jobs, in one query."""
    tasks = PeriodicTask.objects.filter(task=scheduled_run.name)
    if jobs is not None:
        tasks = tasks.filter(name__in=[entry_name(job) for job in jobs])
    found = tasks.select_related("interval", "crontab", "solar", "clocked")
    return {job: _entry(task) for task in found if (job := job_of(task.args)) is not None}


def paused() -> set[str]:
    """Return the jobs whose entry is switched off, in one query."""
    tasks = PeriodicTask.objects.filter(task=scheduled_run.name, enabled=False).values_list("name", "args")
    jobs = {(name, job_of(args)) for name, args in tasks}
    return {job for name, job in jobs if job is not None and name == entry_name(job)}


def look_at_beat() -> Beat:
    """Return what the tables tell of beat: when it last sent anything, and how often jobs are due."""
    # Beat notes what it sent every few minutes only; what it has observed once a minute is there at once.
    noted = PeriodicTask.objects.aggregate(last=Max("last_run_at"))["last"]
    observed = JobObservation.objects.aggregate(last=Max("looked_at"))["last"]
    last = max((each for each in (noted, observed) if each is not None), default=None)
    own = PeriodicTask.objects.filter(name__in=[upkeep.name for upkeep in UPKEEP], enabled=True)
    tasks = PeriodicTask.objects.filter(task=scheduled_run.name).select_related(
        "interval", "crontab", "solar", "clocked"
    )
    return Beat(
        last_sent=last,
        upkeep_enabled=own.count(),
        upkeep_wanted=len(UPKEEP),
        timings={job: _timing(task) for task in tasks if (job := job_of(task.args)) is not None},
    )


def _timing(task: PeriodicTask) -> Timing:
    shortest: float | None = seconds_of(task)  # None: of the sun, or once
    longest = shortest
    if task.crontab is not None:
        never = timedelta(days=DAYS_LOOKED_AT)
        found = gaps_of(task.crontab) or Gaps(shortest=never, longest=never)
        shortest, longest = found.shortest.total_seconds(), found.longest.total_seconds()
    return Timing(text=str(task.scheduler), shortest=shortest, longest=longest, enabled=task.enabled)


def gaps_of(crontab: CrontabSchedule) -> Gaps | None:
    """Return how far apart a crontab's times are, from today on; None when it never comes due."""
    times = crontab.schedule
    return gaps(
        Crontab(
            minutes=times.minute,
            hours=times.hour,
            days=times.day_of_month,
            months=times.month_of_year,
            weekdays=times.day_of_week,
        ),
        first=datetime.now(crontab.timezone).date(),
    )


def _entry(task: PeriodicTask) -> Entry:
    due = None
    if task.enabled:
        last = task.last_run_at or task.date_changed
        schedule = task.schedule
        due = last + schedule.remaining_estimate(last) + (schedule.now() - last)
    return Entry(every=str(task.scheduler), enabled=task.enabled, due=due)


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
    task = PeriodicTask.objects.filter(name=name).select_related("interval").first()
    known = JobSchedule.objects.filter(job=job).first()
    action = Action.KEPT
    if task is None:
        PeriodicTask.objects.create(name=name, interval=interval(seconds), expire_seconds=seconds, **fields)
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


def _remove(job: str) -> Synced:
    _remove_entries(job, PeriodicTask.objects.filter(task=scheduled_run.name, args=json.dumps([job])))
    return Synced(job=job, action=Action.REMOVED)


def _remove_entries(job: str, entries: Iterable[PeriodicTask]) -> None:
    # One by one, so that beat sees the signal of each and reloads its schedule.
    for task in entries:
        task.delete()
    JobSchedule.objects.filter(job=job).delete()


def _known_jobs() -> set[str]:
    args = PeriodicTask.objects.filter(task=scheduled_run.name).values_list("args", flat=True)
    declared = JobSchedule.objects.exclude(job=AUDIT).values_list("job", flat=True)
    return {job for each in args if (job := job_of(each)) is not None} | set(declared)


def job_of(args: str) -> str | None:
    """Return the job that an entry's arguments name; None when an operator wrote something else there."""
    try:
        (job,) = json.loads(args)
    except (ValueError, TypeError):
        return None
    return job if isinstance(job, str) else None


def _create(upkeep: Upkeep) -> None:
    seconds = round(upkeep.every.total_seconds())
    PeriodicTask.objects.get_or_create(
        name=upkeep.name,
        defaults={
            "task": upkeep.task,
            "interval": interval(seconds),
            "expire_seconds": seconds,
            "queue": conf.QUEUE,
            "description": upkeep.description,
        },
    )


def interval(seconds: int) -> IntervalSchedule:
    """Return the interval in the largest unit that fits, as an operator would write it."""
    for unit, size in ((IntervalSchedule.HOURS, 3600), (IntervalSchedule.MINUTES, 60)):
        if seconds % size == 0:
            every, period = seconds // size, unit
            break
    else:
        every, period = seconds, IntervalSchedule.SECONDS
    found = IntervalSchedule.objects.filter(every=every, period=period).first()
    return found or IntervalSchedule.objects.create(every=every, period=period)


def seconds_of(task: PeriodicTask) -> int | None:
    """Return an entry's interval in seconds; None when an operator gave it another kind of schedule."""
    interval: Any = task.interval
    if interval is None:
        return None
    return round(timedelta(**{interval.period: interval.every}).total_seconds())
