"""Show cache and job statistics: memory, keys, hit rates, slow commands, and how much of each job is cached.

Writes, reads and deletes a key in each cache, and looks up a sample of each job's keys.
Exit status: 0 all well; 1 a cache or a job failed; 2 usage error.
"""

import json
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.utils import timezone

from warmer.doctor.stats import collect
from warmer.humanize import by_reason, counted, duration, local, percent, size
from warmer.management.base import WarmerCommand, number, table

CLEAR = "\x1b[H\x1b[2J\x1b[3J"


class Command(WarmerCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--cache", choices=settings.CACHES, metavar="ALIAS", help="default: every cache")
        help = "refresh every SECONDS (default: 2) until Ctrl-C; with --json, print a line each time"
        seconds: dict[str, Any] = {"type": number(float, 0.5, 3_600), "metavar": "SECONDS"}
        parser.add_argument("--watch", **seconds, nargs="?", const=2.0, help=help)

    def handle(self, *args: Any, **options: Any) -> None:
        aliases = [options["cache"]] if options["cache"] else list(settings.CACHES)
        if options["watch"]:
            self._watch(aliases, options)
            return
        found = collect(aliases)
        if options["json"]:
            self.print_json(found)
        elif not all(cache["error"] and not cache["server"] for cache in found["caches"]):
            self.stdout.write("\n".join(_lines(found)))
        if found["errors"]:
            raise CommandError(f"{'; '.join(found['errors'])}.")

    def _watch(self, aliases: list[str], options: dict[str, Any]) -> None:
        clear = CLEAR if self.stdout.isatty() else ""
        title = f"refreshes every {options['watch']:g} s, Ctrl-C ends it"
        try:
            while True:
                found = collect(aliases)
                now = f"{clear}{local(timezone.now()):%Y-%m-%d %H:%M:%S}"
                lines = [f"{now}, {title}\n", *_lines(found), ""]
                self.stdout.write(json.dumps(found) if options["json"] else "\n".join(lines))
                self.stdout.flush()
                time.sleep(options["watch"])
        except KeyboardInterrupt:
            self.stdout.write("")


def _lines(found: dict[str, Any]) -> Iterator[str]:
    for cache in found["caches"]:
        where = f" at {cache['location']}" if cache["location"] else ""
        yield f"Cache {cache['alias']!r}: {cache['backend']}{where}"
        yield from (f"  {label:<13}{text}" for label, text in _cache(cache))
        yield ""
    rows = [job for job in found["jobs"] if not job["error"]]
    if rows:
        # Some caches do not tell the TTLs of keys, not every job has been read, and most keys have a value.
        unknown = (None, "")
        empty = [name for name in rows[0] if all(row[name] in unknown for row in rows)]
        if not any(row["no_value"] for row in rows):
            empty.append("no_value")
        yield table(rows, hidden=empty)
        yield ""
    failed = [(job["job"], job["error"]) for job in found["jobs"] if job["error"]]
    yield from (f"Failed: {line}\n" for line in by_reason(failed))
    pending = found["pending"]
    count = "unknown" if pending["count"] is None else pending["count"] or "none"
    oldest = f" (oldest: {duration(pending['oldest_seconds'])})" if pending["count"] else ""
    yield f"Pending invalidations: {count}{oldest}"
    for alias, why in pending["unanswered"].items():
        yield f"  unknown on the database {alias!r}, which does not answer: {why}"


def _cache(cache: dict[str, Any]) -> Iterator[tuple[str, str]]:
    error, server = cache["error"], cache["server"]
    yield "read/write", f"FAILED: {error}" if error else f"OK ({1000 * cache['probe_seconds']:.1f} ms)"
    if server is not None:
        valkey = f"Valkey {server['valkey_version']}, as " if server["valkey_version"] else ""
        used, limit, rate = server["memory"], server["memory_limit"], server["hit_rate"]
        share = f"{percent(used / limit)} of {size(limit)}, {server['policy']}" if limit else "no limit"
        lookups = counted(server["hits"] + server["misses"], "lookup")
        yield "server", f"{valkey}Redis {server['version']}, up {duration(server['uptime_seconds'])}"
        yield "clients", f"{server['clients']:,} of at most {server['max_clients'] or 0:,}"
        yield "memory", f"{size(used)}, {share}; peak {size(server['memory_peak'])}"
        yield "keys", f"{server['keys']:,}, {server['expiring']:,} with a TTL"
        yield "hit rate", "no lookups yet" if rate is None else f"{percent(rate)} of {lookups}"
        yield "evicted", f"{counted(server['evicted'], 'key')}; {server['expired']:,} expired"
        if server["slow"] is not None:
            yield from (("slow log", text) for text in server["slow"] or ["empty"])
    yield from (("unavailable", text) for text in cache["unavailable"])
