"""Template tags and filters of the admin: the overview, states, and formatted numbers."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django import template
from django.apps import apps
from django.utils import timezone

from warmer import humanize

register = template.Library()
# Beat saves only every 3 minutes when it last sent something.
BEAT_SAVES = timedelta(minutes=4)

# Django imports this module in every project, even in one without the admin.
if apps.is_installed("django.contrib.admin"):
    from warmer.admin import base, history, runs
    from warmer.admin.overview import warmer_overview

    register.simple_tag(takes_context=True)(warmer_overview)
    register.filter("sparkline", history.sparkline)
    register.filter("name", base.job_name)
    register.filter("state", base.state)
    register.filter("audit_result", runs.audit_result)
    register.filter("audit_details", runs.audit_details)


def until(time: datetime) -> str:
    """Return the time until beat is due, or that it is overdue."""
    left = time - timezone.now()
    if left < -BEAT_SAVES:
        return f"overdue by {humanize.duration(-left, rough=True)}"
    return f"in {humanize.duration(left, rough=True)}" if left > timedelta(0) else "due now"


def _unbroken(format: Callable[[Any], str]) -> Callable[[Any], str]:
    """Return a filter that formats a value on one line; None as an empty string."""
    return lambda value: "" if value is None else format(value).replace(" ", "\N{NO-BREAK SPACE}")


register.filter("duration", _unbroken(humanize.duration))
register.filter("roughly", _unbroken(partial(humanize.duration, rough=True)))
register.filter("ago", _unbroken(humanize.ago))
register.filter("until", _unbroken(until))
register.filter("counted", humanize.counted)
register.filter("grouped", lambda number: f"{number:,}")
register.filter("size", _unbroken(humanize.size))
register.filter("percent", _unbroken(humanize.percent))
