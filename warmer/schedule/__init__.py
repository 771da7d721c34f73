"""The schedule in django-celery-beat: the only part that imports it."""

from warmer.schedule.beat import look_at_beat
from warmer.schedule.entry import Entry, entries, paused
from warmer.schedule.syncing import AUDIT, Action, Synced, sync, tables_exist
from warmer.schedule.upkeep import UPKEEP, Upkeep

__all__ = [
    "AUDIT",
    "UPKEEP",
    "Action",
    "Entry",
    "Synced",
    "Upkeep",
    "entries",
    "look_at_beat",
    "paused",
    "sync",
    "tables_exist",
]
