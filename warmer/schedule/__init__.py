"""The schedule in django-celery-beat: the only part that imports it."""

from warmer.schedule.beat import Beat, look_at_beat
from warmer.schedule.entries import Entry, Gaps, ScheduleError, entries, entry_of, paused
from warmer.schedule.form import ScheduleForm, reset, switch
from warmer.schedule.sync import AUDIT, UPKEEP, Action, databases, sync, tables_exist

__all__ = [
    "AUDIT",
    "UPKEEP",
    "Action",
    "Beat",
    "Entry",
    "Gaps",
    "ScheduleError",
    "ScheduleForm",
    "databases",
    "entries",
    "entry_of",
    "look_at_beat",
    "paused",
    "reset",
    "switch",
    "sync",
    "tables_exist",
]
