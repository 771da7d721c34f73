"""Show what the doctor found: on a terminal, to be read in a hurry, or as JSON."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from django.core.management.color import Style

from warmer.doctor.examination import Examination
from warmer.doctor.finding import Finding, NotChecked, Severity

LABELS = {
    Severity.OK: "ok",
    Severity.INFO: "note",
    Severity.WARNING: "WARNING",
    Severity.ERROR: "ERROR",
    Severity.FAILED: "FAILED",
}
# Longer lines are hard to follow, shorter ones to lay out.
WIDEST, NARROWEST = 110, 60
# The first line of a fix is there to be copied, and those that begin so.
COPIED = ("CACHES[", "redis-cli ")
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


def as_json(found: Examination, *, status: int) -> str:
    """Return everything that was found, for a program."""
    counts = {severity.value: found.count(severity) for severity in Severity}
    return json.dumps(
        {
            "status": status,
            "counts": counts,
            "findings": [asdict(each) for each in found.findings],
            "not_checked": [asdict(each) for each in found.not_checked],
        },
        indent=2,
    )


def as_text(found: Examination, style: Style) -> str:
    """Return a report: of each subject first what is amiss, the worst first, then a line for each other
    check."""
    width = max(NARROWEST, min(WIDEST, shutil.get_terminal_size().columns))
    subjects = dict.fromkeys(each.subject for each in found.answers)
    blocks = []
    for subject in subjects:
        findings = sorted(
            _merged([each for each in found.findings if each.subject == subject]),
            key=lambda each: -list(Severity).index(each.severity),
        )
        lines = [line for each in findings for line in _lines(each, style, width)]
        lines += _unchecked([each for each in found.not_checked if each.subject == subject], width)
        blocks.append("\n".join([style.MIGRATE_HEADING(subject[:1].upper() + subject[1:]), *lines]))
    return "\n\n".join([*blocks, _sums(found)])


def headline(found: Examination) -> str:
    """Return one line that names what is broken."""
    bad = [each for each in found.findings if each.severity.is_bad]
    names = dict.fromkeys(
        f"{each.check} of the {each.subject}" if each.subject.startswith("cache ") else each.check
        for each in bad
    )
    return f"Wrong: {', '.join(names)}."


def _merged(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield findings, those once that several checks have in common, e.g. that INFO is not allowed."""
    checks: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for each in findings:
        checks[(each.severity, each.seen, each.why, each.fix)].append(each.check)
    for (severity, seen, why, fix), names in checks.items():
        yield Finding(
            severity=Severity(severity), seen=seen, why=why, fix=fix, check=", ".join(dict.fromkeys(names))
        )


def _lines(finding: Finding, style: Style, width: int) -> Iterator[str]:
    paint = _paint(finding.severity, style)
    label = LABELS[finding.severity]
    if finding.severity == Severity.OK:
        yield from _hanging(f"  {paint(label.ljust(7))}  {finding.check}: ", 11, finding.seen, width)
        return
    yield f"  {paint(label.ljust(7))}  {style.HTTP_INFO(finding.check)}"
    yield from _hanging(" " * 11 + "seen  ", 17, finding.seen, width)
    if finding.why:
        yield from _hanging(" " * 11 + "why   ", 17, finding.why, width)
    for number, line in enumerate(finding.fix.splitlines()):
        start = " " * 11 + ("fix   " if number == 0 else "      ")
        if number == 0 or line.startswith(COPIED):
            yield f"{start}{style.SUCCESS(line)}"  # whole
        else:
            yield from _hanging(start, 17, line, width)


def _hanging(start: str, indent: int, text: str, width: int) -> Iterator[str]:
    """Yield a text in lines, the first one after `start`, the others under its text."""
    taken = len(_COLOUR.sub("", start)) - indent
    lines = textwrap.wrap(
        text,
        width=width - indent,
        initial_indent=" " * taken,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]
    yield start + lines[0][taken:]
    yield from (" " * indent + line for line in lines[1:])


def _unchecked(unchecked: Sequence[NotChecked], width: int) -> Iterator[str]:
    reasons: dict[str, list[str]] = defaultdict(list)
    for each in unchecked:
        reasons[each.reason].append(each.check)
    for reason, checks in reasons.items():
        yield from _hanging("  -        ", 11, f"not checked, as {reason}: {', '.join(checks)}", width)


def _sums(found: Examination) -> str:
    names = (
        (Severity.ERROR, "error"),
        (Severity.FAILED, "failed check"),
        (Severity.WARNING, "warning"),
        (Severity.INFO, "note"),
    )
    counts = [(found.count(severity), name) for severity, name in names]
    parts = [f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts if count]
    parts.append(f"{found.count(Severity.OK)} ok")
    if found.not_checked:
        parts.append(f"{len(found.not_checked)} not checked")
    return ", ".join(parts) + "."


def _paint(severity: Severity, style: Style) -> Callable[[str], str]:
    paints: dict[Severity, Callable[[str], str]] = {
        Severity.OK: style.SUCCESS,
        Severity.WARNING: style.WARNING,
        Severity.ERROR: style.ERROR,
        Severity.FAILED: style.ERROR,
    }
    return paints.get(severity, lambda text: text)
