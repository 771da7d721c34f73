"""Benchmark a cache, then delete the test keys: key by key, in batches, and under the fence of a job.

The ping requests missing keys, so it measures only the server and the network. The benchmark puts real load
on the server. Exit status: 0 measured; 1 the cache failed; 2 usage error.
"""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from warmer.conf import conf
from warmer.doctor.benchmark import BATCH, MAX_BYTES, MAX_KEYS, MAX_VALUE_BYTES, benchmark
from warmer.humanize import counted, size
from warmer.management.base import USAGE, WarmerCommand, number


class Command(WarmerCommand):
    help = __doc__
    undone = "Any remaining test keys expire within 10 minutes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        help = f"number of keys, at most {MAX_KEYS:,}; default: 1,000"
        parser.add_argument("--count", type=number(int, 1, MAX_KEYS), default=1_000, help=help)
        help = f"size of each value in bytes, at most {MAX_VALUE_BYTES:,}; default: 200"
        size_type = number(int, 1, MAX_VALUE_BYTES)
        parser.add_argument("--size", type=size_type, default=200, metavar="BYTES", help=help)
        known: dict[str, Any] = {"choices": settings.CACHES, "metavar": "ALIAS"}
        parser.add_argument("--cache", **known, default=conf.CACHE, help="default: WARMER_CACHE")

    def handle(self, *args: Any, **options: Any) -> None:
        alias, count, length = options["cache"], options["count"], options["size"]
        if count * length > MAX_BYTES:
            raise CommandError(f"The keys may hold at most {size(MAX_BYTES)} in total.", returncode=USAGE)
        rows = benchmark(alias, count=count, size=length)
        if options["json"]:
            known = {"cache": alias, "count": count, "size": length, "batch": BATCH}
            self.print_json({**known, "operations": rows})
            return
        start = f"Cache {alias!r} ({settings.CACHES[alias]['BACKEND']})"
        self.stdout.write(f"{start}: {counted(count, 'key')} of {size(length)}, batches of {BATCH}.\n\n")
        is_complete = not any(row["missing"] for row in rows)
        self.print_rows(rows, hidden=["missing"] if is_complete else [])
        self.stdout.write("\nTimes are microseconds per call; ratio: p50 / p50 of ping.")
        if not is_complete:
            self.stdout.write("Missing keys were refused, or gone when read: the cache is too small.")
