"""Small pieces of HTML: names and times that wrap in narrow columns."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.functional import lazy
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from warmer import humanize
from warmer.models import CacheAudit


def name(job: str) -> SafeString:
    """Return the name of a job, which wraps at its underscores first."""
    return format_html_join(mark_safe("_<wbr>"), "{}", ((part,) for part in job.split("_")))


def state(value: str) -> SafeString:
    """Return the state of a job or a run with its mark."""
    return format_html('<span class="warmer-state warmer-state-{}">{}</span>', value, value)


def counts(row: Any, names: Iterable[str]) -> str:
    """Return the counts of a row that are not 0, e.g. "96 written, 2 failed"."""
    found = [(getattr(row, name), name.replace("_", " ")) for name in names]
    return ", ".join(f"{count:,} {name}" for count, name in found if count) or "none"


def audit_result(audit: CacheAudit) -> str:
    """Return the result of an audit, e.g. "99 of 100 right"."""
    if compared := audit.right + audit.wrong:
        return f"{audit.right:,} of {compared:,} right"
    return f"{audit.missing:,} missing" if audit.missing else "nothing compared"


def audit_details(audit: CacheAudit) -> str:
    """Return an audit's other counts and its confidence: "1 missing; 95 % confidence: at least 97 %"."""
    compared = audit.right + audit.wrong
    names = ("wrong", "repaired", "missing", "failed") if compared else ("failed",)
    found = ", ".join(counts(audit, (name,)) for name in names if getattr(audit, name))
    return "; ".join(text for text in (found, audit_confidence(audit)) if text)


def audit_confidence(audit: CacheAudit) -> str:
    """Return what a sample implies for all keys; nothing if every key was compared, or none."""
    is_sample = not audit.whole and audit.wrong_share is not None
    return f"95 % confidence: {audit.share}" if is_sample else ""


def _with_zone(title: str) -> str:
    return f"{title} ({timezone.get_current_timezone_name()})"


with_zone = lazy(_with_zone, str)
"""Return the title of a column of times, with the name of their zone."""


def moment(time: datetime) -> SafeString:
    """Return a time to the second, which wraps onto two lines if necessary."""
    time = humanize.local(time)
    parts = ((f"{time:%Y-%m-%d}",), (f"{time:%H:%M:%S}",))
    return format_html_join(" ", '<span class="warmer-whole">{}</span>', parts)
