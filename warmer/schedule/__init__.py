"""The schedule in django-celery-beat: the only part that imports it."""

from warmer.schedule.entries import Entry, Gaps, ScheduleError, entries, entry_of, paused
from warmer.schedule.form import ScheduleForm, reset, switch
from warmer.schedule.sync import AUDIT, UPKEEP, Action, Beat, database, look_at_beat, sync, tables_exist

__all__ = [
    "AUDIT",
    "UPKEEP",
    "Action",
    "Beat",
    "Entry",
    "Gaps",
    "ScheduleError",
    "ScheduleForm",
    "database",
    "entries",
    "entry_of",
    "look_at_beat",
    "paused",
    "reset",
    "switch",
    "sync",
    "tables_exist",
]
