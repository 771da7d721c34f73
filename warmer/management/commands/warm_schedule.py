"""Bring the schedule in django-celery-beat in line with the declared jobs, and show it.

An entry that is missing is created, one whose job is gone is removed. The interval and 'enabled' of
an entry that an operator changed are left alone. It also happens after every migrate.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError

from warmer.management.checking import CheckedCommand
from warmer.management.terminal import table
from warmer.registry import jobs

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
        rows = []
        for synced in done:
            entry, declared = entries.get(synced.job), None
            if synced.job in jobs and jobs[synced.job].spec.every is not None:
                declared = str(jobs[synced.job].spec.every)
            rows.append(
                {
                    "job": synced.job,
                    "declared": declared,
                    "schedule": entry.every if entry else None,
                    "enabled": None if entry is None else "yes" if entry.enabled else "no",
                    "sync": synced.action.value,
                }
            )
        if options["json"]:
            self.stdout.write(json.dumps(rows, indent=2))
        elif rows:
            self.stdout.write(table(list(rows[0]), [list(row.values()) for row in rows]))
        else:
            self.stdout.write("No job is scheduled.")
