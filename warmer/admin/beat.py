"""The schedule, in projects that have it; else None."""

from __future__ import annotations

from typing import Any

from django.apps import apps

schedule: Any = None

if apps.is_installed("django_celery_beat"):
    from warmer import schedule as _schedule

    schedule = _schedule
