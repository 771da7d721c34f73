"""Apply pending changes within a second, as workers do.

These are changes by other programs and stored procedures, and changes that a killed process or an unavailable
cache left behind. Stop it with Ctrl-C.
"""

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from warmer.humanize import counted
from warmer.invalidation import Relay
from warmer.management.base import WarmerCommand


class Command(WarmerCommand):
    help = __doc__
    undone = "The changes stay recorded."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="apply what is pending now and exit")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["once"]:
            relay = Relay()
            relay.notice()
            self.stdout.write(f"Applied {counted(relay.poll(), 'change')}.")
            return
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        self.stdout.write("Applying changes as they arrive. Stop with Ctrl-C.")
        Relay().run(stop.wait)
