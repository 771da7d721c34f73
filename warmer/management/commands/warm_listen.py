"""Apply changes that no process of the site applied, within a second: a worker does it where one runs.

These are changes of other programs and of stored procedures, what a killed process left, and what a cache did
not take. Ctrl-C ends it.
"""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError

from warmer.exceptions import StoreUnavailable
from warmer.invalidation import Relay
from warmer.management.checking import CheckedCommand
from warmer.report import describe


class Command(CheckedCommand):
    """Apply waiting changes until it is stopped."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="apply what waits now, and exit")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["once"]:
            try:
                self.stdout.write(f"Applied {Relay().poll()} waiting changes.")
            except (StoreUnavailable, DatabaseError, InterfaceError) as error:
                raise CommandError(f"Changes wait: {describe(error)}.") from None
            return
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        self.stdout.write("Applying changes as they come. Ctrl-C ends it.")
        Relay().run(stop.wait)
