"""The sync: beat's entries follow the declarations, except where an operator changed them.

Code declares an interval, and an operator may change it. To distinguish the two, the headers of an entry hold
the interval declared at the last sync. An entry that differs from it was edited, and is kept.
"""

import json
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.db import connections, router
from django.db.models import Max, Model, Q, QuerySet
from django.forms import model_to_dict
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, PeriodicTasks

from warmer import tasks
from warmer.conf import as_django, conf
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.models import BeatProcess, atomic_for, rows_of
from warmer.schedule.entries import Entry, aware, entry_name, interval_row, shortest_gap

# The header of an entry with the declared seconds at the last sync.
DECLARED = "warmer_declared_seconds"
YOURS = "The interval and 'enabled' are yours to change."
OWN = "warmer: "
"""The prefix of the names of warmer's own entries; no job can have such a name."""
UPKEEP = {
    f"{OWN}close stalled runs": (tasks.close_stalled_runs, timedelta(minutes=1)),
    f"{OWN}observe the jobs": (tasks.observe_jobs, timedelta(minutes=1)),
    f"{OWN}forget old runs": (tasks.forget_runs, timedelta(days=1)),
}
"""warmer's own periodic tasks, by the name of their entry."""


class Action(StrEnum):
    """What a sync did to a job's entry."""

    CREATED = "created"
    UPDATED = "updated"
    KEPT = "kept"
    EDITED = "kept as an operator set it"
    REMOVED = "removed"


def sync() -> dict[str, Action]:
    """Sync beat's entries with the code, except for changes by operators; return what was done, by job.

    Missing entries are created. Entries of jobs that no longer exist or are no longer scheduled are removed.
    Only operators enable or disable entries.
    """
    own = dict(UPKEEP)
    if conf.AUDIT_SAMPLE > 0:
        own[f"{OWN}audit a sample"] = tasks.audit_sample, conf.AUDIT_EVERY
    ours = Q(task=tasks.scheduled_run.name, name__startswith=entry_name("")) | Q(name__startswith=OWN)
    description = f"A task of warmer's own. {YOURS}"
    with atomic_for(PeriodicTask):
        done = {spec.name: sync_job(spec) for spec in jobs.specs() if spec.every is not None}
        for name, (task, every) in own.items():
            _sync(every, name=name, task=task.name, queue=conf.QUEUE, description=description)
        # One by one, so that beat reloads its schedule.
        for task in rows_of(PeriodicTask).filter(ours).exclude(name__in=[*map(entry_name, done), *own]):
            task.delete()
            if not task.name.startswith(OWN):
                done[task.name.removeprefix(entry_name(""))] = Action.REMOVED
    return done


def sync_job(spec: JobSpec) -> Action:
    """Sync the entry of a scheduled job with its declaration."""
    assert spec.every is not None
    return _sync(
        spec.every,
        name=entry_name(spec.name),
        task=tasks.scheduled_run.name,
        queue=spec.queue,
        args=json.dumps([spec.name]),
        description=f"Made from the job's declaration. {YOURS}",
    )


def follow_code(task: PeriodicTask, every: timedelta) -> None:
    """Set an entry to the declared interval, so that it follows the code from now on."""
    set_schedule(task, interval_row(every))
    task.headers = json.dumps(_headers(task) | {DECLARED: task.expire_seconds})


def set_schedule(task: PeriodicTask, schedule: IntervalSchedule | CrontabSchedule) -> None:
    """Give an entry an interval or a crontab, in place of any other schedule."""
    equal = rows_of(type(schedule)).filter(**model_to_dict(schedule, exclude=["id"])).first()
    if equal is None:
        schedule.save()
    task.interval = task.crontab = task.solar = task.clocked = None
    kind = "interval" if isinstance(schedule, IntervalSchedule) else "crontab"
    setattr(task, kind, equal or schedule)
    task.expire_seconds = round(shortest_gap(schedule).total_seconds())


def begin(task: PeriodicTask) -> None:
    """Set the start from which an entry counts its interval.

    If unset, it counts from its last change, which beat interprets as UTC; with `USE_TZ` off, that may be
    hours off.
    """
    if not task.enabled:
        task.last_run_at = None  # as beat does
    elif task.last_run_at is None and not settings.USE_TZ:
        task.last_run_at = datetime.now(UTC).replace(tzinfo=None)


def save(task: PeriodicTask) -> None:
    """Save an entry, and notify beat.

    Its own `save()` checks for an equal name on the database that the router gives for reads, and a replica
    may not even have the table yet.
    """
    begin(task)
    Model.save(task)
    PeriodicTasks.changed(task)


def _sync(every: timedelta, *, name: str, **fields: str) -> Action:
    """Create an entry, or update it to the declared interval unless an operator set another."""
    rows = rows_of(PeriodicTask).select_related("interval").filter(name=name)
    task = rows.first()
    if task is None:
        task = PeriodicTask(name=name, **fields)
        follow_code(task, every)
        begin(task)
        rows.bulk_create([task], ignore_conflicts=True)  # another process may have created it
        PeriodicTasks.update_changed()
        return Action.CREATED
    seconds = round(every.total_seconds())
    before, current = _headers(task).get(DECLARED), Entry(task).interval
    if isinstance(before, int) and before != seconds and current == timedelta(seconds=before):
        follow_code(task, every)
        save(task)
        return Action.UPDATED
    if before != seconds:
        rows.update(headers=json.dumps(_headers(task) | {DECLARED: seconds}))
    return Action.KEPT if current == timedelta(seconds=seconds) else Action.EDITED


def beat_seen_at() -> datetime | None:
    """Return when beat last sent anything, as far as it recorded this."""
    # Beat records only every few minutes what it sent. A worker records beat's message each minute.
    recorded = rows_of(PeriodicTask).aggregate(last=Max("last_run_at"))["last"]
    noted = BeatProcess.objects.aggregate(last=Max("last_at"))["last"]
    return max(filter(None, (recorded and as_django(aware(recorded, UTC)), noted)), default=None)


def upkeep() -> QuerySet[PeriodicTask]:
    """Return the enabled entries of `UPKEEP`."""
    return rows_of(PeriodicTask).filter(name__in=UPKEEP, enabled=True)


def tables_exist(using: str | None = None) -> bool:
    """Return whether a sync finds the tables that it needs, on this database if one is given."""
    own = connections[router.db_for_write(PeriodicTask)]
    return using in (None, own.alias) and PeriodicTask._meta.db_table in own.introspection.table_names()


def _headers(task: PeriodicTask) -> dict[str, Any]:
    try:
        found = json.loads(task.headers or "{}")
    except ValueError:  # an operator's text, which beat's admin accepts, must not make `migrate` fail
        return {}
    return found if isinstance(found, dict) else {}
