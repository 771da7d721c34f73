"""The schedule, in projects that have it: else both are None."""

from __future__ import annotations

from typing import Any

from django.apps import apps

schedule: Any = None
edits: Any = None

if apps.is_installed("django_celery_beat"):
    from warmer import schedule as _schedule
    from warmer.schedule import edits as _edits

    schedule, edits = _schedule, _edits
