"""What the commands check before they begin."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from warmer.stores import why_unusable


class CheckedCommand(BaseCommand):
    """A command that says in a line which cache cannot be used: of Django's checks that is a traceback."""

    def check(self, *args: Any, **kwargs: Any) -> None:
        """Make the system checks.

        Raises:
            CommandError: a cache cannot be used; the message names it, its backend and why.
        """
        for alias, options in settings.CACHES.items():
            if why := why_unusable(alias):
                raise CommandError(
                    f"The cache {alias!r} ({options.get('BACKEND')}) cannot be used: {why}. "
                    "See 'manage.py cache_doctor'."
                )
        super().check(*args, **kwargs)
