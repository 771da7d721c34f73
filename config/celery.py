"""The project's Celery app: `celery -A config worker`, `celery -A config beat`."""

import os
from contextlib import suppress
from typing import Any

from celery import Celery
from celery.signals import task_prerun
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections

from config.redis_url import broker_of_environment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# Celery reads the broker's address from the environment itself, possibly before the settings are loaded.
with suppress(ImproperlyConfigured):  # the settings raise it, where callers expect it
    broker_of_environment()

app = Celery("config")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@task_prerun.connect(dispatch_uid="config.close_old_connections")
def close_unusable_connections(task: Any, **_kwargs: Any) -> None:
    """Close database connections that are broken or too old, as Django does when a request begins."""
    if not task.request.is_eager:
        close_old_connections()
