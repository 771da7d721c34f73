"""The schedule in django-celery-beat: the only part that imports it."""

from warmer.schedule.entries import Entry, Gaps, ScheduleError, entries, entry_of, paused
from warmer.schedule.form import ScheduleForm, reset, switch
from warmer.schedule.sync import (
    AUDIT,
    UPKEEP,
    Action,
    Beat,
    beat_seen_at,
    database,
    look_at_beat,
    sync,
    tables_exist,
)
