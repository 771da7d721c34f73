"""The sync: beat's entries follow what code declares, and what an operator changed stays.

Code declares an interval, an operator may change it, and both are kept apart: `JobSchedule` holds what
code declared at the last sync. An entry that differs from it was edited, and is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from django.db import connections, router
from django.db.models import Q
from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks

from warmer import tasks
from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.models import JobSchedule, atomic_for, rows_of
from warmer.schedule.entries import Entry, begin, entry_name, save, saved

YOURS = "The interval and 'enabled' are yours to change."
OWN = "warmer: "
"""How the names of entries begin that `warmer` needs for itself; no job can have such a name."""
AUDIT = f"{OWN}audit a sample"
UPKEEP = {
    f"{OWN}close stalled runs": (tasks.close_stalled_runs, timedelta(minutes=1)),
    f"{OWN}observe the jobs": (tasks.observe_jobs, timedelta(minutes=1)),
    f"{OWN}forget old runs": (tasks.forget_runs, timedelta(days=1)),
}
"""What beat sends for `warmer` itself, by the name of the entry."""


class Action(StrEnum):
    """What a sync did with a job's entry."""

    CREATED = "created"
    UPDATED = "updated"
    KEPT = "kept"
    EDITED = "kept as an operator set it"
    REMOVED = "removed"


@dataclass(frozen=True, kw_only=True)
class Declared:
    """An entry as code declares it.

    Attributes:
        job: by which `JobSchedule` knows it.
        task: the name of a task.
    """

    job: str
    name: str
    task: str
    every: timedelta
    queue: str
    args: str = "[]"
    description: str

    @property
    def seconds(self) -> int:
        """The interval in whole seconds."""
        return round(self.every.total_seconds())

    def sync(self) -> Action:
        """Create the entry, or let it follow the declared interval unless an operator set another."""
        rows = rows_of(PeriodicTask).select_related("interval").filter(name=self.name)
        is_new = not rows.exists()
        if is_new:
            new = {name: getattr(self, name) for name in ("name", "task", "queue", "args", "description")}
            task = PeriodicTask(**new, interval=_interval(self.seconds), expire_seconds=self.seconds)
            begin(task)
            rows.bulk_create([task], ignore_conflicts=True)  # another process may be faster
            PeriodicTasks.update_changed()
        task = rows.get()
        known = JobSchedule.objects.filter(job=self.job).first()
        before = timedelta(seconds=known.declared_seconds) if known else None
        declared = timedelta(seconds=self.seconds)
        current = Entry(task).interval
        if not is_new and before not in (None, declared) and current == before:
            self.follow_code(task)
            return Action.UPDATED
        if before != declared:
            self._remember()
        if is_new:
            return Action.CREATED
        return Action.KEPT if current == declared else Action.EDITED

    def follow_code(self, task: PeriodicTask) -> None:
        """Set an entry to the declared interval, and let it follow the code from now on."""
        task.interval, task.expire_seconds = _interval(self.seconds), self.seconds
        task.crontab = task.solar = task.clocked = None
        save(task)
        self._remember()

    def _remember(self) -> None:
        JobSchedule.objects.update_or_create(job=self.job, defaults={"declared_seconds": self.seconds})


def sync() -> dict[str, Action]:
    """Bring beat's entries in line with the code, except for what an operator changed.

    A missing entry is created. The entry of a job that is gone, or is no longer scheduled, is removed. An
    entry follows the declared interval until an operator sets another. Whether it is enabled is the
    operator's choice alone.

    Returns:
        What was done, by job.
    """
    with atomic_for(PeriodicTask):
        wanted = list(_declarations())
        done = {each.job: each.sync() for each in wanted} | _remove_all_but(wanted)
    return {job: action for job, action in done.items() if not job.startswith(OWN)}


def declared(spec: JobSpec) -> Declared:
    """Return the entry of a scheduled job as code declares it."""
    assert spec.every is not None
    return Declared(
        job=spec.name,
        name=entry_name(spec.name),
        task=tasks.scheduled_run.name,
        every=spec.every,
        queue=spec.queue,
        args=json.dumps([spec.name]),
        description=f"Made from the job's declaration. {YOURS}",
    )


def databases() -> set[str]:
    """Return the databases that a sync writes to."""
    return {router.db_for_write(PeriodicTask), router.db_for_write(JobSchedule)}


def tables_exist() -> bool:
    """Return whether the tables that a sync needs are migrated."""
    tables = {table for alias in databases() for table in connections[alias].introspection.table_names()}
    return {PeriodicTask._meta.db_table, JobSchedule._meta.db_table} <= tables


def _declarations() -> Iterator[Declared]:
    yield from (declared(spec) for spec in jobs.specs() if spec.every is not None)
    audit = {AUDIT: (tasks.audit_sample, conf.AUDIT_EVERY)} if conf.AUDIT_SAMPLE > 0 else {}
    for name, (task, every) in (UPKEEP | audit).items():
        yield Declared(
            job=name,
            name=name,
            task=task.name,
            every=every,
            queue=conf.QUEUE,
            description=f"What warmer does for itself. {YOURS}",
        )


def _remove_all_but(wanted: list[Declared]) -> dict[str, Action]:
    ours = Q(task=tasks.scheduled_run.name, name__startswith=entry_name("")) | Q(name__startswith=OWN)
    gone = rows_of(PeriodicTask).filter(ours).exclude(name__in=[each.name for each in wanted])
    removed = {}
    for task in gone:  # one by one, so that beat notices and reloads its schedule
        removed[task.name.removeprefix(entry_name(""))] = Action.REMOVED
        task.delete()
    JobSchedule.objects.exclude(job__in=[each.job for each in wanted]).delete()
    return removed


def _interval(seconds: int) -> IntervalSchedule:
    """Return beat's row for an interval, in the largest unit that fits, as an operator would write it."""
    units = ((IntervalSchedule.HOURS, 3600), (IntervalSchedule.MINUTES, 60), (IntervalSchedule.SECONDS, 1))
    period, size = next((period, size) for period, size in units if seconds % size == 0)
    row: IntervalSchedule = saved(IntervalSchedule(every=seconds // size, period=period))
    return row
