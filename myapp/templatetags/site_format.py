"""Template filters that format cached values."""

from __future__ import annotations

from datetime import datetime

from django import template
from django.template.defaultfilters import date
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.filter
def day(iso: str) -> SafeString:
    """Format an ISO 8601 time as a `<time>` element that shows its day."""
    return format_html('<time datetime="{}">{}</time>', iso, date(datetime.fromisoformat(iso), "j F Y"))


@register.filter
def thousands(number: int) -> str:
    """Format an integer with separators: 12,345."""
    return f"{number:,}"
