"""What beat's tables tell of beat itself."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Max, Min
from django_celery_beat.models import PeriodicTask

from warmer.models import JobObservation
from warmer.monitoring.facts import Beat, Timing
from warmer.schedule.crontabs import DAYS_LOOKED_AT, Gaps
from warmer.schedule.entry import by_job, job_tasks
from warmer.schedule.timings import gaps_of, seconds_of
from warmer.schedule.upkeep import UPKEEP


def look_at_beat() -> Beat:
    """Return what the tables tell of beat: when it last sent anything, and how often jobs are due."""
    # Beat notes what it sent every few minutes only; what it has observed once a minute is there at once.
    noted = PeriodicTask.objects.aggregate(last=Max("last_run_at"))["last"]
    observed = JobObservation.objects.aggregate(last=Max("looked_at"))["last"]
    last = max((each for each in (noted, observed) if each is not None), default=None)
    own = PeriodicTask.objects.filter(name__in=[upkeep.name for upkeep in UPKEEP], enabled=True)
    return Beat(
        last_sent=last,
        # A row has no time of its making, but until beat has sent it nobody else has a reason to change it.
        entries_since=own.aggregate(first=Min("date_changed"))["first"],
        upkeep_enabled=own.count(),
        upkeep_wanted=len(UPKEEP),
        timings={job: _timing(task) for job, task in by_job(job_tasks()).items()},
    )


def _timing(task: PeriodicTask) -> Timing:
    shortest: float | None = seconds_of(task)  # None: of the sun, or once
    longest = shortest
    if task.crontab is not None:
        never = timedelta(days=DAYS_LOOKED_AT)
        found = gaps_of(task.crontab) or Gaps(shortest=never, longest=never)
        shortest, longest = found.shortest.total_seconds(), found.longest.total_seconds()
    return Timing(text=str(task.scheduler), shortest=shortest, longest=longest, enabled=task.enabled)
