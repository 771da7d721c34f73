"""Measure how fast a cache is written and read: key by key, in batches, and under the fence of a job.

Beside each is the time that the server itself takes to answer. The keys are the benchmark's own; they are
removed at the end, also after Ctrl-C or an error. It is real load: mind what else the server serves.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from warmer.conf import conf
from warmer.doctor.benchmark import BATCH, Benchmark, Measured, refusal
from warmer.exceptions import StoreUnavailable
from warmer.humanize import counted
from warmer.management.base import ProgressBar, WarmerCommand, cache_alias, table, whole_number
from warmer.management.interrupts import interrupted_between_steps
from warmer.stores import is_fenced

FAILED, USAGE, INTERRUPTED = 1, 2, 130
PERCENTILES = (50, 95, 99)


class Command(WarmerCommand):
    """Measure a cache, and leave nothing behind."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--count", type=whole_number, default=1_000, help="how many keys; default: 1,000")
        parser.add_argument(
            "--size", type=whole_number, default=200, metavar="BYTES", help="of a value; default: 200"
        )
        parser.add_argument(
            "--cache", type=cache_alias, default=conf.CACHE, metavar="ALIAS", help="default: WARMER_CACHE"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        alias, count, size = options["cache"], options["count"], options["size"]
        if why := refusal(count, size):
            raise CommandError(why, returncode=USAGE)
        bar = ProgressBar(self.stdout)

        def progress(done: int, total: int, way: str) -> None:
            step()
            bar.draw(done, total, way)

        benchmark = Benchmark(alias, count=count, size=size, progress=progress)
        try:
            with interrupted_between_steps() as step, benchmark:
                measured = benchmark.measure()
        except StoreUnavailable as error:
            bar.clear()
            raise CommandError(str(error), returncode=FAILED) from None
        except KeyboardInterrupt:
            bar.clear()
            left = "were removed" if benchmark.is_clean else "expire in some minutes"
            raise CommandError(f"Interrupted. Its keys {left}.", returncode=INTERRUPTED) from None
        bar.clear()
        rows = _rows(measured, is_server=is_fenced(alias))
        if options["json"]:
            found = {"cache": alias, "count": count, "size": size, "batch": BATCH, "ways": rows}
            self.stdout.write(json.dumps(found, indent=2))
        else:
            backend = settings.CACHES[alias]["BACKEND"]
            self.stdout.write(
                f"The cache {alias!r} ({backend}): {counted(count, 'key')} of "
                f"{counted(size, 'byte')}, batches of {BATCH}.\n\n"
            )
            self._print(rows)

    def _print(self, rows: list[dict[str, Any]]) -> None:
        self.stdout.write(_table(rows))
        self.stdout.write("\nTimes are of a call, in microseconds.")
        if rows[0]["x"] is not None:
            self.stdout.write("x: how many times that of the PING the p50 is.")
        if any(row["missing"] for row in rows):
            self.stdout.write(
                "The missing keys were not taken, or gone when they were read: the cache is too small."
            )


def _rows(measured: list[Measured], *, is_server: bool) -> list[dict[str, Any]]:
    least = measured[0].percentile(50)
    return [
        {
            "way": each.way,
            "calls": len(each.seconds),
            "keys": each.keys,
            "missing": each.missing,
            "per_second": round(each.per_second),
            **{f"p{percent}_us": round(each.percentile(percent) * 1e6) for percent in PERCENTILES},
            "x": round(each.percentile(50) / least, 2) if is_server else None,
        }
        for each in measured
    ]


def _table(rows: list[dict[str, Any]]) -> str:
    optional = ("missing", "x")
    names = [name for name in rows[0] if name not in optional or any(row[name] for row in rows)]
    header = [name.removesuffix("_us").replace("per_second", "keys/s") for name in names]
    return table(header, [[row[name] for name in names] for row in rows])
