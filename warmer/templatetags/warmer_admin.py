"""What the admin's templates need: the overview's data, and numbers for people."""

from __future__ import annotations

from datetime import datetime, timedelta

from django import template
from django.apps import apps
from django.utils import timezone

from warmer import humanize

register = template.Library()

# Django imports this module in every project, also in one without an admin.
if apps.is_installed("django.contrib.admin"):
    from warmer.admin.overview_tag import warmer_overview

    register.simple_tag(takes_context=True)(warmer_overview)


def _unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")


@register.filter
def short(length: timedelta | float | None) -> str:
    """Return a length of time in one unit, e.g. "12 min"."""
    return "" if length is None else _unbroken(humanize.duration(length, rough=True))


@register.filter
def ago(moment: datetime | None) -> str:
    """Return how long ago a moment was, e.g. "12 min ago"."""
    return "" if moment is None else _unbroken(humanize.ago(moment))


@register.filter
def until(moment: datetime | None) -> str:
    """Return how far off a moment is, e.g. "in 12 min"; "now" when it has come."""
    if moment is None:
        return ""
    left = moment - timezone.now()
    return f"in\N{NO-BREAK SPACE}{short(left)}" if left > timedelta(0) else "now"


@register.filter
def percent(share: float | None) -> str:
    """Return a share of 0 to 1 as a percentage."""
    return "" if share is None else _unbroken(humanize.percent(share))
