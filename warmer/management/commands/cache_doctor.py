"""Look for what is wrong with the caches, Celery and the jobs: what was seen, why it matters, the fix.

Every cache of the settings is looked at, or one. On a Redis server it reads with INFO, CONFIG GET, SCAN
and SLOWLOG, writes one key of its own and removes it, and keeps a small reading for the next look. For
every check see docs/doctor.md. Exit status: 0 no error was found, 1 one was or a check broke, 2 usage.
"""

from __future__ import annotations

from argparse import ArgumentParser
from functools import cache
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from warmer import tasks
from warmer.conf import conf
from warmer.doctor.catalogue import CACHE_CHECKS, PROJECT_CHECKS
from warmer.doctor.examination import Examination, examine
from warmer.doctor.project import Project, chosen_caches, specs_of
from warmer.management.base import ProgressBar
from warmer.management.diagnosis import as_json, as_text, headline
from warmer.tasks import Queue

if apps.is_installed("django_celery_beat"):
    from warmer import schedule

ERRORS, USAGE = 1, 2


class Command(BaseCommand):
    help = __doc__
    # They load every cache: of one that cannot be loaded the doctor has to tell.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--cache", metavar="ALIAS", help="look at this cache and its jobs only")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        alias = options["cache"]
        if alias is not None and alias not in settings.CACHES:
            known = ", ".join(map(repr, settings.CACHES))
            raise CommandError(f"There is no cache {alias!r}: CACHES has {known}.", returncode=USAGE)
        found = self._examine(_project(alias), show=not options["json"])
        status = 0 if found.ok else ERRORS
        self.stdout.write(as_json(found, status=status) if options["json"] else as_text(found, self.style))
        if status:
            raise CommandError(headline(found), returncode=status)

    def _examine(self, project: Project, *, show: bool) -> Examination:
        bar = ProgressBar(self.stdout)
        total = len(project.caches) * len(CACHE_CHECKS) + len(PROJECT_CHECKS)
        done = 0

        def progress(check: str) -> None:
            nonlocal done
            if show:
                bar.draw(done, total, check)
            done += 1

        try:
            return examine(
                project, cache_checks=CACHE_CHECKS, project_checks=PROJECT_CHECKS, progress=progress
            )
        finally:
            bar.clear()
            for each in project.caches:
                if each.server is not None:
                    each.server.close()


def _project(alias: str | None) -> Project:
    caches = chosen_caches(alias)
    specs = specs_of(caches)

    def queues() -> tuple[Queue, ...]:
        names = sorted({spec.queue for spec in specs} | {conf.QUEUE})
        return tuple(tasks.look_at_queue(name) for name in names)

    return Project(
        caches=caches,
        specs=specs,
        # Several checks look at the same answer.
        broker=cache(tasks.look_at_broker),
        queues=cache(queues),
        beat=cache(schedule.look_at_beat) if apps.is_installed("django_celery_beat") else None,
    )
