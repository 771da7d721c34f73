"""What the admin's templates need: the overview, states, and numbers as people read them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import template
from django.apps import apps
from django.utils import timezone

from warmer import humanize

register = template.Library()

# Django imports this module in every project, also in one without an admin.
if apps.is_installed("django.contrib.admin"):
    from warmer.admin import widgets
    from warmer.admin.overview import warmer_overview

    register.simple_tag(takes_context=True)(warmer_overview)
    for function in (
        widgets.name,
        widgets.state,
        widgets.sparkline,
        widgets.audit_result,
        widgets.audit_details,
    ):
        register.filter(function.__name__, function)


@register.filter
def duration(length: timedelta | float | None) -> str:
    """Return a length of time, e.g. "1 h 30 min"."""
    return "" if length is None else _unbroken(humanize.duration(length))


@register.filter
def roughly(length: timedelta | float | None) -> str:
    """Return a length of time in one unit, e.g. "90 min"."""
    return "" if length is None else _unbroken(humanize.duration(length, rough=True))


@register.filter
def ago(time: datetime | None) -> str:
    """Return how long ago a time was."""
    return "" if time is None else _unbroken(humanize.ago(time))


@register.filter
def until(time: datetime | None) -> str:
    """Return how long it is until a time."""
    if time is None:
        return ""
    left = time - timezone.now()
    return _unbroken(f"in {humanize.duration(left, rough=True)}") if left > timedelta(0) else "now"


@register.filter
def percent(share: float | None) -> str:
    """Return a share as a percentage."""
    return "" if share is None else _unbroken(humanize.percent(share))


def _unbroken(text: Any) -> str:
    return str(text).replace(" ", "\N{NO-BREAK SPACE}")
