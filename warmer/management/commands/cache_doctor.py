"""Check the caches, Celery and the jobs; print what is wrong, why it matters, and the fix.

Checks every cache of the settings, or one. On a Redis server it uses INFO, CONFIG GET, SCAN and SLOWLOG,
writes and deletes a key, and keeps a small reading for its next run.
Exit status: 0 no errors; 1 errors or a failed check; 2 usage error.
"""

import shutil
import textwrap
from argparse import ArgumentParser
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from warmer.doctor.check import Finding, Severity
from warmer.doctor.diagnosis import diagnose
from warmer.doctor.project import Project
from warmer.humanize import counted
from warmer.management.base import WarmerCommand

WORST_FIRST = list(reversed(Severity))
STYLES = {"ok": "SUCCESS", "warning": "WARNING", "error": "ERROR", "failed": "ERROR"}
# Longer lines are hard to read, shorter ones hard to lay out.
WIDEST, NARROWEST = 110, 60
# A fix begins with a line to paste, and so do lines that begin with one of these.
PASTED = ("CACHES[", "redis-cli ")
_wrap = partial(textwrap.wrap, break_long_words=False, break_on_hyphens=False)


class Command(WarmerCommand):
    help = __doc__
    # They load every cache, and a cache that cannot be loaded is for the doctor to report.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--cache", choices=settings.CACHES, metavar="ALIAS", help="check only this cache and its jobs"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with closing(Project(options["cache"])) as project:
            found = diagnose(project)
        bad = dict.fromkeys(f"{each.check} ({each.subject})" for each in found if each.severity.is_bad)
        counts = Counter(each.severity for each in found)
        if options["json"]:
            totals = {severity.value: counts[severity] for severity in Severity}
            findings = [asdict(each) for each in found]
            self.print_json({"status": int(bool(bad)), "counts": totals, "findings": findings})
        else:
            total = ", ".join(f"{each}: {counts[each]}" for each in WORST_FIRST if counts[each])
            self.stdout.write("\n".join([*self._lines(found), total]))
        if bad:
            raise CommandError(f"{counted(len(bad), 'error')}: {', '.join(bad)}.")

    def _lines(self, found: list[Finding]) -> Iterator[str]:
        """Yield the report: for each subject the worst findings first."""
        width = max(NARROWEST, min(WIDEST, shutil.get_terminal_size().columns))
        for subject in dict.fromkeys(each.subject for each in found):
            yield self.style.MIGRATE_HEADING(subject[0].upper() + subject[1:])
            findings = _grouped(each for each in found if each.subject == subject)
            for each in sorted(findings, key=lambda each: WORST_FIRST.index(each.severity)):
                paint: Callable[[str], str] = getattr(self.style, STYLES.get(each.severity, ""), str)
                first, *rest = _finding(each, width)
                yield first.replace(each.severity, paint(each.severity), 1)
                yield from rest
            yield ""


def _grouped(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings, with those that several checks share in one, e.g. that INFO is not allowed."""
    checks: dict[Finding, list[str]] = defaultdict(list)
    for each in findings:
        checks[replace(each, check="")].append(each.check)
    return [replace(each, check=", ".join(dict.fromkeys(names))) for each, names in checks.items()]


def _finding(finding: Finding, width: int) -> Iterator[str]:
    start = f"  {finding.severity.value:7}  "
    if not finding.why:
        yield from _wrapped(start, f"{finding.check}: {finding.message}", width)
        return
    indent = " " * len(start)
    yield start + finding.check
    yield from _wrapped(indent, finding.message, width)
    yield from _wrapped(f"{indent}why  ", finding.why, width)
    for number, line in enumerate(finding.fix.splitlines()):
        label = indent + ("     " if number else "fix  ")
        is_pasted = not number or line.startswith(PASTED)
        yield from [label + line] if is_pasted else _wrapped(label, line, width)


def _wrapped(label: str, text: str, width: int) -> list[str]:
    """Return a labelled text in lines of a width; what is longer, such as an address, stays whole."""
    return _wrap(text, width, initial_indent=label, subsequent_indent=" " * len(label))
