"""The schedule, in projects that have it."""

from __future__ import annotations

from typing import Any

from django.apps import apps

schedule: Any = None
edits: Any = None

if apps.is_installed("django_celery_beat"):
    from warmer import schedule_edits

    edits = schedule_edits
