"""Sync the schedule in django-celery-beat with the declared jobs, and show it.

Missing entries are created, and entries of jobs that no longer exist are removed. An interval or a pause
that an operator set in the admin is kept. 'manage.py migrate' does the same.
"""

from typing import Any

from django.apps import apps
from django.core.management.base import CommandError

from warmer.declarations.registry import jobs
from warmer.management.base import WarmerCommand

if apps.is_installed("django_celery_beat"):
    from warmer import schedule


class Command(WarmerCommand):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        if not apps.is_installed("django_celery_beat"):
            raise CommandError("django_celery_beat is not in INSTALLED_APPS: there is no schedule to sync.")
        if not schedule.tables_exist():
            raise CommandError("The schedule's tables do not exist: run 'manage.py migrate' first.")
        done = schedule.sync()
        entries = schedule.entries()
        rows = []
        for job, action in done.items():
            every = jobs[job].spec.every if job in jobs else None
            entry = entries.get(job)
            rows.append(
                {
                    "job": job,
                    "declared_seconds": every.total_seconds() if every else None,
                    "schedule": entry.text if entry else None,
                    "enabled": entry.enabled if entry else None,
                    "due": due.isoformat() if entry and (due := entry.due()) else None,
                    "sync": action.value,
                }
            )
        if options["json"]:
            self.print_json(rows)
        else:
            self.print_rows(rows, hidden=["due"], empty="No job is scheduled.")
