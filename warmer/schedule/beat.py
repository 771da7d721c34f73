"""What beat's tables tell about beat itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Max, Min
from django_celery_beat.models import PeriodicTask

from warmer.models import JobObservation, rows_of
from warmer.schedule.entries import Entry, entries, time_of_beat
from warmer.schedule.sync import UPKEEP


@dataclass(frozen=True, kw_only=True)
class Beat:
    """What beat's tables tell.

    Attributes:
        last_sent: when beat last sent anything, as far as it recorded that.
        entries_since: since when it has entries of `UPKEEP` to send.
        upkeep_enabled, upkeep_wanted: how many of these are enabled, and how many there should be.
        entries: by job.
    """

    last_sent: datetime | None = None
    entries_since: datetime | None = None
    upkeep_enabled: int = 0
    upkeep_wanted: int = len(UPKEEP)
    entries: Mapping[str, Entry] = field(default_factory=dict)


def look_at_beat() -> Beat:
    """Return when beat last sent anything, and how the jobs are scheduled."""
    # Beat records what it sent every few minutes only. What it has observed each minute is there at once.
    recorded = rows_of(PeriodicTask).aggregate(last=Max("last_run_at"))["last"]
    recorded = time_of_beat(recorded)
    observed = JobObservation.objects.aggregate(last=Max("attempted_at"))["last"]
    own = rows_of(PeriodicTask).filter(name__in=UPKEEP, enabled=True)
    return Beat(
        last_sent=max((each for each in (recorded, observed) if each is not None), default=None),
        # A row has no creation time, but until beat has sent it nobody else has a reason to change it.
        entries_since=own.aggregate(first=Min("date_changed"))["first"],
        upkeep_enabled=own.count(),
        entries=entries(),
    )
