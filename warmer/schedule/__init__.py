"""The schedule in django-celery-beat: the only part that imports it."""

from warmer.schedule.entries import Entry, ScheduleError, entries, entry_of
from warmer.schedule.form import ScheduleForm, reset, switch
from warmer.schedule.sync import UPKEEP, Action, beat_seen_at, sync, tables_exist, upkeep
