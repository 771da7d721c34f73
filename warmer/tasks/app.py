"""What the project's Celery app makes of its settings."""

from __future__ import annotations

from dataclasses import dataclass

from celery import current_app
from django.conf import settings
from kombu.serialization import registry

BROKER_SETTINGS = ("CELERY_BROKER_URL", "BROKER_URL")
NAMESPACE = (
    'app.config_from_object("django.conf:settings", namespace="CELERY")\n'
    "in the project's celery.py. "
    "The __init__.py beside it imports the app. An app without a namespace reads BROKER_URL, without CELERY_."
)
# What runs code when it is read.
_UNSAFE = {"application/x-python-serialize", "application/x-yaml"}


@dataclass(frozen=True, kw_only=True)
class Formats:
    """The formats of Celery's messages.

    Attributes:
        sent: of the tasks that are sent.
        accepted: what a worker accepts.
    """

    sent: str = "json"
    accepted: tuple[str, ...] = ("json",)

    @property
    def unsafe(self) -> list[str]:
        """The accepted formats that run code when they are read."""
        return sorted(name for name in self.accepted if _type(name) in _UNSAFE)

    @property
    def is_refused(self) -> bool:
        """Whether workers refuse what is sent; they then do not even answer a ping."""
        return _type(self.sent) not in map(_type, self.accepted)

    @property
    def fix(self) -> str:
        """The settings for JSON alone."""
        line = 'CELERY_ACCEPT_CONTENT = ["json"]\n'
        if self.sent == "json":
            return f"{line}The warming tasks need nothing else."
        return (
            f'{line}CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = "json"\n'
            "All three together, or no task is done. The project's own tasks must then take plain data."
        )


def formats() -> Formats:
    """Return the formats of the app's messages."""
    return Formats(
        sent=current_app.conf.task_serializer, accepted=tuple(current_app.conf.accept_content or ())
    )


def unread_setting() -> str:
    """Return the setting that names a broker where no Celery app reads it; empty if one does."""
    if current_app.conf.broker_url or current_app.conf.task_always_eager:
        return ""
    return next((name for name in BROKER_SETTINGS if getattr(settings, name, None)), "")


def has_broker() -> bool:
    """Return whether a broker is configured, so that other processes do the tasks."""
    return bool(current_app.conf.broker_url) and not current_app.conf.task_always_eager


def app_name() -> str:
    """Return the name of the project's app, as in `celery -A`."""
    name = current_app.main or "default"
    return "PROJECT" if name == "default" else name  # "default": Celery's own, where there is no other


def _type(name: str) -> str:
    return str(registry.name_to_type.get(name, name))
