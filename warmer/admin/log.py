"""Who did what, and why: entries in Django's admin log."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest

from warmer.models import Job, WarmingRun
from warmer.spec import JobSpec

LONGEST_REASON = 200
SHOWN = 10


def reason(request: HttpRequest) -> str:
    """Return why somebody does something, as they gave it."""
    return " ".join(request.POST.get("why", "").split())[:LONGEST_REASON]


def log_job(user: Any, spec: JobSpec, what: str, why: str) -> None:
    """Record what somebody did with a job."""
    _log(user, Job, spec.name, spec.name, what, why)


def log_run(user: Any, run: WarmingRun, what: str, why: str) -> None:
    """Record what somebody did with a run."""
    _log(user, WarmingRun, str(run.pk), str(run), what, why)


def entries_of(spec: JobSpec) -> list[LogEntry]:
    """Return the last entries about a job, newest first."""
    entries = LogEntry.objects.filter(content_type=_type(Job), object_id=spec.name).select_related("user")
    return list(entries.order_by("-action_time", "-pk")[:SHOWN])


def _log(user: Any, model: type[WarmingRun], id: str, name: str, what: str, why: str) -> None:
    LogEntry.objects.create(
        user_id=user.pk,
        content_type=_type(model),
        object_id=id,
        object_repr=name,
        action_flag=CHANGE,
        change_message=f"{what} Why: {why}" if why else what,
    )


def _type(model: type[WarmingRun]) -> ContentType:
    return ContentType.objects.get_for_model(model, for_concrete_model=False)
