"""How the project's Celery app reads its settings."""

from __future__ import annotations

import os
from dataclasses import dataclass

from celery import current_app
from django.conf import settings
from kombu.exceptions import SerializerNotInstalled
from kombu.serialization import registry

BROKER_SETTINGS = ("CELERY_BROKER_URL", "BROKER_URL")
NAMESPACE = (
    'app.config_from_object("django.conf:settings", namespace="CELERY")\n'
    "in the project's celery.py. The __init__.py beside it imports the app. "
    "It then reads CELERY_BROKER_URL; without a namespace, BROKER_URL."
)
# Formats that run code when they are decoded.
_UNSAFE = {"application/x-python-serialize", "application/x-yaml"}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem with a setting, for a system check and the doctor."""

    message: str
    why: str
    fix: str


def problem_of_formats() -> Problem | None:
    """Return the problem with the formats of Celery's messages, if there is one."""
    sent, accepted = current_app.conf.task_serializer, list(current_app.conf.accept_content or ())
    if _type(sent) not in map(_type, accepted):
        message = f"Celery sends tasks as {sent!r}, which its workers do not accept."
        why = "No worker answers, and no task is done."
    elif _UNSAFE.intersection(map(_type, accepted)):
        message = f"Celery accepts {', '.join(map(repr, accepted))}."
        why = "Anyone who can write to the broker can run code in every worker."
    elif not _is_installed(sent):
        message = f"Celery sends tasks as {sent!r}, whose library is not installed."
        why = "No task can be sent."
    else:
        return None
    fix = 'CELERY_ACCEPT_CONTENT = ["json"]\n'
    if sent == "json":
        fix += "The warming tasks need nothing else."
    else:
        fix += 'CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = "json"\n'
        fix += "All three together, or no task is done. The project's own tasks must then take plain data."
    return Problem(message=message, why=why, fix=fix)


def unread_setting() -> str:
    """Return a broker setting that the Celery app does not read; empty if there is none."""
    conf = current_app.conf
    if conf.task_always_eager or os.environ.get("CELERY_BROKER_URL"):  # Celery prefers it to every setting
        return ""
    read = (conf.broker_url, conf.broker_read_url, conf.broker_write_url)
    given = {name: getattr(settings, name, None) for name in BROKER_SETTINGS}
    return next((name for name, url in given.items() if url and url not in read), "")


def missing_setting() -> str:
    """Return the setting in which the Celery app finds no broker; empty if it has one or needs none."""
    if current_app.conf.broker_write_url or current_app.conf.task_always_eager:
        return ""
    return f"{current_app.namespace}_BROKER_URL" if current_app.namespace else "BROKER_URL"


def has_broker() -> bool:
    """Return whether a broker is configured, so that other processes execute the tasks."""
    return bool(current_app.conf.broker_url) and not current_app.conf.task_always_eager


def app_name() -> str:
    """Return the name of the project's app, as in `celery -A`."""
    name = current_app.main or "default"
    return "PROJECT" if name == "default" else name  # "default": Celery's own app, if there is no other


def _is_installed(serializer: str) -> bool:
    try:
        registry.dumps({}, serializer=serializer)
    except SerializerNotInstalled:
        return False
    return True


def _type(name: str) -> str:
    return str(registry.name_to_type.get(name, name))
