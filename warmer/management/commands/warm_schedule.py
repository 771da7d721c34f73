"""Bring the schedule in django-celery-beat in line with the declared jobs, and show it.

An entry that is missing is created, one whose job is gone is removed. The interval and 'enabled' of
an entry that an operator changed are left alone. It also happens after every migrate.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError

from warmer.declarations.registry import jobs
from warmer.management.checking import CheckedCommand
from warmer.management.terminal import table

if apps.is_installed("django_celery_beat"):
    from warmer import schedule


class Command(CheckedCommand):
    """Sync the schedule and show it."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if not apps.is_installed("django_celery_beat"):
            raise CommandError("django_celery_beat is not in INSTALLED_APPS: there is no schedule to sync.")
        if not schedule.tables_exist():
            raise CommandError("The schedule's tables do not exist: run 'manage.py migrate' first.")
        done = schedule.sync()
        entries = schedule.entries()
        if options["json"]:
            data = [_data(synced, entries.get(synced.job)) for synced in done]
            self.stdout.write(json.dumps(data, indent=2))
        elif done:
            rows = [_row(synced, entries.get(synced.job)) for synced in done]
            self.stdout.write(table(list(rows[0]), [list(row.values()) for row in rows]))
        else:
            self.stdout.write("No job is scheduled.")


def _row(synced: Any, entry: Any) -> dict[str, Any]:
    every = _declared(synced.job)
    return {
        "job": synced.job,
        "declared": None if every is None else str(every),
        "schedule": entry.every if entry else None,
        "enabled": None if entry is None else "yes" if entry.enabled else "no",
        "sync": synced.action.value,
    }


def _data(synced: Any, entry: Any) -> dict[str, Any]:
    every = _declared(synced.job)
    return {
        "job": synced.job,
        "declared_seconds": None if every is None else every.total_seconds(),
        "schedule": entry.every if entry else None,
        "enabled": entry.enabled if entry else None,
        "due": entry.due.isoformat() if entry and entry.due else None,
        "sync": synced.action.value,
    }


def _declared(job: str) -> timedelta | None:
    return jobs[job].spec.every if job in jobs else None
