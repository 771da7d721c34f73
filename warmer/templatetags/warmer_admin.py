"""What the admin's templates need: the overview's data, and times in few letters."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import template
from django.template import RequestContext
from django.utils import timezone

from warmer.admin import permissions
from warmer.admin.actions import ACTIONS, allowed
from warmer.admin.overview import overview

register = template.Library()

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


@register.simple_tag(takes_context=True)
def warmer_overview(context: RequestContext) -> dict[str, Any] | None:
    """Return the overview with what the reader may do; None for one who may not see the jobs."""
    user = context.request.user
    if not permissions.may_see_jobs(user):
        return None
    may = allowed(user)
    return {
        "page": overview(context.request.GET),
        "actions": [action for action in ACTIONS if may[action.name]],
        "may": may,
        "may_see_runs": user.has_perm(permissions.VIEW_RUNS),
        "may_see_audits": user.has_perm(permissions.VIEW_AUDITS),
    }


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
