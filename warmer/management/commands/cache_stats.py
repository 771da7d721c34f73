"""Show how the caches do: whether they answer, their memory, keys, hits and slow commands, and how much of
each job is cached.

A key of its own is written, read back and removed. Of each job a sample of its declared ids is looked at, in
one round trip. Exit status: 0 every cache takes and gives; 1 one does not; 2 usage.
"""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone

from warmer.doctor import stats
from warmer.management import stats_text
from warmer.management.base import WarmerCommand, cache_alias

FAILED = 1
# Each look is some work for the server and the database.
SHORTEST_SECONDS, LONGEST_SECONDS = 0.5, 3_600
CLEAR = "\x1b[H\x1b[2J\x1b[3J"


class Command(WarmerCommand):
    """Show the caches and the jobs, once or again and again."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--cache", type=cache_alias, metavar="ALIAS", help="default: every cache")
        parser.add_argument(
            "--watch",
            type=_pause,
            nargs="?",
            const=2.0,
            metavar="SECONDS",
            help="draw it again every so often, until Ctrl-C; default: 2",
        )
        parser.add_argument("--json", action="store_true", help="print JSON; with --watch a line each time")

    def handle(self, *args: Any, **options: Any) -> None:
        aliases = [options["cache"]] if options["cache"] else list(settings.CACHES)
        if options["watch"] is not None:
            self._watch(aliases, options)
            return
        found = stats.collect(aliases)
        if options["json"]:
            self.stdout.write(json.dumps(stats_text.as_plain_data(found), indent=2))
        elif not all(cache.error for cache in found.caches):  # else the line below says it all
            self.stdout.write(stats_text.page(found))
        if not found.ok:
            raise CommandError(stats_text.troubles(found), returncode=FAILED)

    def _watch(self, aliases: list[str], options: dict[str, Any]) -> None:
        is_terminal = self.stdout.isatty()
        try:
            while True:
                found = stats.collect(aliases)
                if options["json"]:
                    self.stdout.write(json.dumps(stats_text.as_plain_data(found)))
                else:
                    now = f"{timezone.localtime():%Y-%m-%d %H:%M:%S}"
                    title = f"{now}, again every {options['watch']:g} s; Ctrl-C ends it"
                    clear = CLEAR if is_terminal else ""
                    self.stdout.write(f"{clear}{title}\n\n{stats_text.page(found)}\n")
                self.stdout.flush()
                time.sleep(options["watch"])
        except KeyboardInterrupt:
            self.stdout.write("")


def _pause(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise ArgumentTypeError(
            f"{text!r} is not a number of seconds from {SHORTEST_SECONDS:g} to {LONGEST_SECONDS:,}"
        )
    return seconds
