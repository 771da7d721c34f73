"""Cells of the lists that narrow columns can break."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe


def name(job: str) -> SafeString:
    """Return a job's name, which breaks at its underscores first."""
    return format_html_join(mark_safe("_<wbr>"), "{}", ((part,) for part in job.split("_")))


def counts(row: Any, names: Iterable[str]) -> str:
    """Return a row's counts that are not 0, e.g. "96 written, 2 failed"."""
    found = [(getattr(row, name), name) for name in names]
    return ", ".join(f"{count:,} {name}" for count, name in found if count) or "none"


def moment(time: datetime) -> SafeString:
    """Return a time to the second; on two lines where there is no room."""
    local = timezone.localtime(time)
    parts = ((f"{local:%Y-%m-%d}",), (f"{local:%H:%M:%S}",))
    return format_html_join(" ", '<span class="warmer-whole">{}</span>', parts)
