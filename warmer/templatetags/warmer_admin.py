"""What the admin's templates need: the overview, states, and numbers as people read them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django import template
from django.apps import apps
from django.utils import timezone

from warmer import humanize

register = template.Library()
# Beat saves when it last sent something every 3 minutes.
BEAT_SAVES = timedelta(minutes=4)

# Django imports this module in every project, also in one without an admin.
if apps.is_installed("django.contrib.admin"):
    from warmer.admin import charts, widgets
    from warmer.admin.overview import warmer_overview

    register.simple_tag(takes_context=True)(warmer_overview)
    register.filter("sparkline", charts.sparkline)
    for name in ("name", "state", "audit_result", "audit_details"):
        register.filter(name, getattr(widgets, name))


def until(time: datetime) -> str:
    """Return how long it is until a time of beat, or that it is late."""
    left = time - timezone.now()
    if left < -BEAT_SAVES:
        return f"overdue by {humanize.duration(-left, rough=True)}"
    return f"in {humanize.duration(left, rough=True)}" if left > timedelta(0) else "now"


def _unbroken(format: Callable[[Any], str]) -> Callable[[Any], str]:
    """Return a filter that formats on one line; nothing for None."""
    return lambda value: "" if value is None else format(value).replace(" ", "\N{NO-BREAK SPACE}")


register.filter("duration", _unbroken(humanize.duration))
register.filter("roughly", _unbroken(partial(humanize.duration, rough=True)))
register.filter("ago", _unbroken(humanize.ago))
register.filter("until", _unbroken(until))
register.filter("counted", humanize.counted)
register.filter("grouped", lambda number: f"{number:,}")
register.filter("size", _unbroken(humanize.size))
register.filter("percent", _unbroken(humanize.percent))
