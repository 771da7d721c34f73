"""What the admin's templates need: the overview's data, and times in few letters."""

from __future__ import annotations

from datetime import datetime, timedelta

from django import template
from django.apps import apps
from django.utils import timezone

register = template.Library()

# Django imports this module in every project, also in one without an admin.
if apps.is_installed("django.contrib.admin"):
    from warmer.admin.overview_tag import warmer_overview

    register.simple_tag(takes_context=True)(warmer_overview)

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


@register.filter
def short(length: timedelta | float | None) -> str:
    """Return a length of time in one unit, e.g. "12 min"."""
    if length is None:
        return ""
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= 2 * size), (1, "s"))
    return f"{round(seconds / size)}\N{NO-BREAK SPACE}{unit}"


@register.filter
def ago(time: datetime | None) -> str:
    """Return how long ago a time was."""
    return "" if time is None else f"{short(max(timedelta(0), timezone.now() - time))}\N{NO-BREAK SPACE}ago"


@register.filter
def until(time: datetime | None) -> str:
    """Return in how long a time comes."""
    if time is None:
        return ""
    left = time - timezone.now()
    return f"in\N{NO-BREAK SPACE}{short(left)}" if left > timedelta(0) else "now"


@register.filter
def percent(share: float | None) -> str:
    """Return a share as a percentage that is never rounded up to 100 %, nor down to 0 %."""
    if share is None:
        return ""
    if 0 < share < 1:
        share = min(max(share, 0.001), 0.999)
    text = f"{100 * share:.1f}".removesuffix(".0")
    return f"{text}\N{NO-BREAK SPACE}%"
