"""Check the caches, Celery and the jobs; print what is wrong, why it matters, and the fix.

Checks every cache of the settings, or one. On a Redis server it uses INFO, CONFIG GET, SCAN and SLOWLOG,
writes and deletes a key, and keeps a small reading for its next run.
Exit status: 0 no errors, 1 errors or a failed check, 2 usage.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from argparse import ArgumentParser
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from warmer.doctor.check import Finding, Severity
from warmer.doctor.diagnosis import CACHE_CHECKS, PROJECT_CHECKS, diagnose
from warmer.doctor.project import Project
from warmer.humanize import counted
from warmer.management.base import ProgressBar, WarmerCommand

INDENT = " " * 11
# Longer lines are hard to read, shorter ones hard to lay out.
WIDEST, NARROWEST = 110, 60
# A fix begins with a line to paste, and so do lines that begin with one of these.
PASTED = ("CACHES[", "redis-cli ")


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
        found = self._diagnose(Project(options["cache"]))
        bad = dict.fromkeys(f"{each.check} ({each.subject})" for each in found if each.severity.is_bad)
        counts = Counter(each.severity for each in found)
        if options["json"]:
            report = {
                "status": int(bool(bad)),
                "counts": {severity.value: counts[severity] for severity in Severity},
                "findings": [asdict(each) for each in found],
            }
            self.print_json(report)
        else:
            worst_first = [severity for severity in reversed(Severity) if counts[severity]]
            total = ", ".join(f"{severity}: {counts[severity]}" for severity in worst_first)
            self.stdout.write("\n".join([*self._lines(found), total]))
        if bad:
            raise CommandError(f"{counted(len(bad), 'error')}: {', '.join(bad)}.", returncode=1)

    def _diagnose(self, project: Project) -> list[Finding]:
        bar, done = ProgressBar(self.stdout), 0
        total = len(project.caches) * len(CACHE_CHECKS) + len(PROJECT_CHECKS)

        def progress(check: str) -> None:
            nonlocal done
            bar.draw(done, total, check)
            done += 1

        try:
            return diagnose(project, progress=progress)
        finally:
            bar.clear()
            project.close()

    def _lines(self, found: list[Finding]) -> Iterator[str]:
        """Yield the report: for each subject the worst findings first."""
        width = max(NARROWEST, min(WIDEST, shutil.get_terminal_size().columns))
        order = list(Severity)
        for subject in dict.fromkeys(each.subject for each in found):
            yield self.style.MIGRATE_HEADING(subject[0].upper() + subject[1:])
            findings = _grouped(each for each in found if each.subject == subject)
            for each in sorted(findings, key=lambda each: -order.index(each.severity)):
                lines = _finding(each, width)
                yield self._painted(each.severity, next(lines))
                yield from lines
            yield ""

    def _painted(self, severity: Severity, line: str) -> str:
        paints: dict[Severity, Callable[[str], str]] = {
            Severity.OK: self.style.SUCCESS,
            Severity.WARNING: self.style.WARNING,
            Severity.ERROR: self.style.ERROR,
            Severity.FAILED: self.style.ERROR,
        }
        return re.sub(r"\w+", lambda word: paints.get(severity, str)(word[0]), line, count=1)


def _grouped(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings, with those that several checks share in one, e.g. that INFO is not allowed."""
    checks: dict[Finding, list[str]] = defaultdict(list)
    for each in findings:
        checks[replace(each, check="")].append(each.check)
    return [replace(each, check=", ".join(dict.fromkeys(names))) for each, names in checks.items()]


def _finding(finding: Finding, width: int) -> Iterator[str]:
    start = f"  {finding.severity.value:7}  {finding.check}"
    if not finding.why:
        yield from _wrapped(f"{start}: {finding.message}", INDENT, width)
        return
    yield start
    yield from _wrapped(f"{INDENT}{finding.message}", INDENT, width)
    yield from _wrapped(f"{INDENT}why  {finding.why}", f"{INDENT}     ", width)
    for number, line in enumerate(finding.fix.splitlines()):
        label = f"{INDENT}{'     ' if number else 'fix  '}"
        is_pasted = not number or line.startswith(PASTED)
        yield from [label + line] if is_pasted else _wrapped(label + line, f"{INDENT}     ", width)


def _wrapped(text: str, indent: str, width: int) -> list[str]:
    start = re.match(" *", text)
    return textwrap.wrap(
        text.strip(),
        width,
        initial_indent=start[0] if start else "",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
