"""Compare cached values with what the loaders return now, and list the wrong keys.

Audits every declared key and, on Redis, the keys that readers added; or with --sample, a sample of the
declared keys. Keys that change during the audit, or are not cached, are not wrong. Fields that differ are
listed; values are never shown. The result is stored in the database. If the cache or the database of a job
does not answer, the other jobs are still audited. Exit status: 0 nothing is wrong; 1 a key is wrong or could
not be audited; 2 usage error.
"""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable, WarmerError
from warmer.humanize import by_reason, counted
from warmer.invalidation import captures_by_triggers
from warmer.management.base import USAGE, WarmerCommand, chosen_specs, number
from warmer.models import CacheAudit, Trigger
from warmer.monitoring import audit
from warmer.report import describe

MOST_SAMPLED = 1_000_000_000
COLUMNS = ("job", "sampled", "right", "wrong", "missing", "no_value", "changed", "failed", "repaired")


class Command(WarmerCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("jobs", nargs="*", metavar="JOB", help="default: every job")
        help = "audit N random keys of each job; default: all"
        parser.add_argument("--sample", type=number(int, 1, MOST_SAMPLED), metavar="N", help=help)
        parser.add_argument("--seed", type=int, metavar="NUMBER", help="draw the same sample again")
        parser.add_argument("--repair", action="store_true", help="invalidate the wrong keys")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["seed"] is not None and options["sample"] is None:
            raise CommandError("--seed needs --sample: without it every key is audited.", returncode=USAGE)
        specs = chosen_specs(options["jobs"])
        audits = self._audit(specs, options)
        is_ok = all(found.ok for found in audits)
        if options["json"]:
            self.print_json({"status": int(not is_ok), "jobs": [found.as_dict() for found in audits]})
        else:
            self._print(audits, repair=options["repair"])
        if not is_ok:
            raise CommandError(_summary(audits))

    def _audit(self, specs: list[JobSpec], options: dict[str, Any]) -> list[CacheAudit]:
        audits: list[CacheAudit] = []

        def progress(found: CacheAudit) -> None:
            self.show_progress(f"{found.job}: {counted(found.sampled, 'key')}, {found.wrong} wrong")

        chosen = {name: options[name] for name in ("sample", "seed", "repair")}
        for spec in specs:
            try:
                found = audit.perform(spec, Trigger.COMMAND, progress=progress, **chosen)
            except (WarmerError, DatabaseError, InterfaceError) as error:
                # The cache or the database of this job does not answer; those of other jobs may.
                why = str(error) if isinstance(error, StoreUnavailable) else describe(error)
                found = CacheAudit(job=spec.name, started_at=timezone.now(), whole=False, error=why)
            audits.append(found)
        self.show_progress("")
        return audits

    def _print(self, audits: list[CacheAudit], *, repair: bool) -> None:
        rows = [
            {name: getattr(each, name) for name in COLUMNS} | {"right share": each.share} for each in audits
        ]
        self.print_rows(rows, hidden=[] if repair else ["repaired"])
        for found in audits:
            if found.note:
                self.stdout.write(f"{found.job}: {found.note}")
        if not all(found.whole or found.error for found in audits):
            self.stdout.write("'at least' is the lower bound of the sample at 95 % confidence.")
        for found in audits:
            wrong = [f"{each['key']}: {', '.join(each['fields'])}" for each in found.wrong_keys]
            self._print_keys(f"{found.job}, wrong:", wrong, found.wrong)
            failed = [f"{each['key']}: {each['error']}" for each in found.failures]
            self._print_keys(f"{found.job}, failed:", failed, found.failed)
        for line in by_reason((found.job, found.error) for found in audits if found.error):
            self.stdout.write(f"\n{line}")
        if any(found.wrong for found in audits) and not captures_by_triggers():
            self.stdout.write(
                "\nDjango's signals do not report update(), bulk operations, raw SQL and other programs. "
                "WARMER_CAPTURE = 'triggers' captures them all (PostgreSQL, SQLite)."
            )

    def _print_keys(self, title: str, keys: list[str], total: int) -> None:
        if keys:
            more = [f"and {total - len(keys):,} more"] if total > len(keys) else []
            self.stdout.write("\n  ".join([f"\n{title}", *keys, *more]))


def _summary(audits: list[CacheAudit]) -> str:
    wrong = ", ".join(f"{counted(found.wrong, 'key')} of {found.job}" for found in audits if found.wrong)
    repaired = sum(found.repaired for found in audits)
    incomplete = ", ".join(found.job for found in audits if found.failed or found.error)
    parts = [
        wrong and f"Wrong: {wrong}.",
        repaired and f"Invalidated: {counted(repaired, 'key')}, reloaded on the next read or run.",
        incomplete and f"Not fully audited: {incomplete}.",
    ]
    return " ".join(part for part in parts if part)
