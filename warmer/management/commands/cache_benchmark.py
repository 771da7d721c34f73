"""Benchmark a cache, then delete the test keys: key by key, in batches, and under the fence of a job.

The ping asks for missing keys, so it measures the server and the network alone. All of this is real load:
consider what else the server serves. Exit status: 0 measured, 1 the cache failed, 2 usage, 130 interrupted.
"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from warmer.conf import conf
from warmer.doctor.benchmark import BATCH, MAX_BYTES, MAX_KEYS, MAX_VALUE_BYTES, Benchmark
from warmer.humanize import counted, size
from warmer.management.base import USAGE, ProgressBar, WarmerCommand, number

INTERRUPTED = 130


class Command(WarmerCommand):
    help = __doc__
    undone = "Test keys that are left expire within 10 minutes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--count",
            type=number(int, 1, MAX_KEYS),
            default=1_000,
            help=f"number of keys, at most {MAX_KEYS:,}; default: 1,000",
        )
        parser.add_argument(
            "--size",
            type=number(int, 1, MAX_VALUE_BYTES),
            default=200,
            metavar="BYTES",
            help=f"size of each value in bytes, at most {MAX_VALUE_BYTES:,}; default: 200",
        )
        parser.add_argument(
            "--cache",
            choices=settings.CACHES,
            default=conf.CACHE,
            metavar="ALIAS",
            help="default: WARMER_CACHE",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        alias, count, length = options["cache"], options["count"], options["size"]
        if count * length > MAX_BYTES:
            raise CommandError(f"The keys may hold at most {size(MAX_BYTES)} in total.", returncode=USAGE)
        bar = ProgressBar(self.stdout)
        benchmark = Benchmark(alias, count=count, size=length, progress=bar.draw)
        try:
            rows = benchmark.measure()
        except KeyboardInterrupt:
            raise CommandError("Interrupted. The test keys were deleted.", returncode=INTERRUPTED) from None
        finally:
            bar.clear()
            benchmark.clean()
        if options["json"]:
            known = {"cache": alias, "count": count, "size": length, "batch": BATCH}
            self.print_json({**known, "operations": rows})
            return
        backend = settings.CACHES[alias]["BACKEND"]
        self.stdout.write(
            f"Cache {alias!r} ({backend}): {counted(count, 'key')} of {size(length)}, batches of {BATCH}.\n\n"
        )
        is_complete = not any(row["missing"] for row in rows)
        self.print_rows(
            [{name: row[name] for name in row if name != "missing" or not is_complete} for row in rows]
        )
        self.stdout.write("\nTimes are microseconds per call; ratio: p50 / p50 of ping.")
        if not is_complete:
            self.stdout.write("Missing keys were refused, or gone when read: the cache is too small.")
