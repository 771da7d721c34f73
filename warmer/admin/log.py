"""Who did what, and why: entries in Django's admin log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q
from django.http import HttpRequest

from warmer.declarations.spec import JobSpec
from warmer.models import Job, WarmingRun

LONGEST_REASON = 200
SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What somebody did with a job, or with a run of it.

    Attributes:
        who: their name.
        run: the number of the run, where it was one.
    """

    at: datetime
    who: str
    what: str
    run: str = ""


def reason(request: HttpRequest) -> str:
    """Return why somebody does something, as they gave it."""
    return " ".join(request.POST.get("why", "").split())[:LONGEST_REASON]


def log_job(user: Any, spec: JobSpec, what: str, why: str) -> None:
    """Record what somebody did with a job."""
    _log(user, Job, spec.name, spec.name, what, why)


def log_run(user: Any, run: WarmingRun, what: str, why: str) -> None:
    """Record what somebody did with a run."""
    _log(user, WarmingRun, str(run.pk), str(run), what, why)


def entries_of(spec: JobSpec) -> list[Entry]:
    """Return the last entries about a job and its runs, newest first."""
    of_runs = _type(WarmingRun)
    # The entry of a run has its number only; but it has its text, too, and no name of a job has a space.
    about = Q(content_type=_type(Job), object_id=spec.name) | Q(
        content_type=of_runs, object_repr__endswith=f" of {spec.name}"
    )
    entries = LogEntry.objects.filter(about).select_related("user").order_by("-action_time", "-pk")[:SHOWN]
    return [
        Entry(
            at=entry.action_time,
            who=str(entry.user),
            what=entry.get_change_message(),
            run=str(entry.object_id) if entry.content_type_id == of_runs.pk else "",
        )
        for entry in entries
    ]


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
