"""A job's page: what is declared, when it is refreshed and by whose word, and who did what with it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from warmer.admin import beat, permissions
from warmer.admin.actions import ACTIONS, Action, allowed
from warmer.admin.log import entries_of, log_job, reason
from warmer.admin.sparkline import BARS, sparkline
from warmer.declarations.spec import JobSpec
from warmer.exceptions import WarmerError
from warmer.humanize import duration
from warmer.models import JobObservation, WarmingRun


def job_page(request: HttpRequest, spec: JobSpec, context: dict[str, Any]) -> HttpResponse:
    """Show a job; by POST, set when it is refreshed."""
    may_edit = request.user.has_perm(permissions.SCHEDULE)
    if request.method == "POST" and not may_edit:
        raise PermissionDenied
    found = _timings(spec)
    form = None
    if may_edit and found["declared"] and not found["problem"]:
        form = beat.schedule.ScheduleForm(spec, request.POST if request.method == "POST" else None)
        if form.is_valid():
            form.save()
            _set(request, spec, before=found["current"], note=form.note)
            return redirect("admin:warmer_job_schedule", spec.name)
    elif request.method == "POST":
        messages.error(request, found["problem"] or f"Not scheduled: {spec.name}.")
        return redirect("admin:warmer_job_schedule", spec.name)
    runs = WarmingRun.objects.recent_per_job([spec.name], each=BARS)[spec.name]
    page = {
        "title": f"Job {spec.name}",
        "spec": spec,
        "form": form,
        "seen": JobObservation.objects.filter(job=spec.name).first(),
        "runs": runs[:5],
        "drawing": sparkline(runs),
        "entries": entries_of(spec),
        "actions": _actions(request.user, found),
        "may_see_runs": request.user.has_perm(permissions.VIEW_RUNS),
        **found,
    }
    return TemplateResponse(request, "admin/warmer/job/page.html", context | page)


def reset_view(request: HttpRequest, spec: JobSpec) -> HttpResponse:
    """Have a job's schedule be what code says, and follow it."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.has_perm(permissions.SCHEDULE):
        raise PermissionDenied
    found = _timings(spec)
    try:
        if beat.schedule is None or found["problem"]:
            raise WarmerError(found["problem"])
        beat.schedule.reset(spec)
    except WarmerError as error:
        messages.error(request, str(error))
    else:
        _set(request, spec, before=found["current"], note="")
    return redirect("admin:warmer_job_schedule", spec.name)


def _actions(user: Any, found: dict[str, Any]) -> list[Action]:
    """Return what a user may do with a job now: pause or resume it, not both."""
    current, may = found["current"], allowed(user)
    senseless = {"pause", "resume"} if current is None else {"resume" if current.enabled else "pause"}
    return [action for action in ACTIONS if may[action.name] and action.name not in senseless]


def _timings(spec: JobSpec) -> dict[str, Any]:
    """Return what code says, what is in force, and why that cannot be told or set."""
    timings: dict[str, Any] = {"declared": None, "current": None, "is_edited": False, "problem": ""}
    if beat.schedule is None:
        return timings | {"problem": "Nothing refreshes it: django_celery_beat is not installed."}
    if spec.every is None:
        return timings
    timings["declared"] = f"every {duration(spec.every)}"
    try:
        timings["current"] = current = beat.schedule.entry_of(spec)
    except WarmerError as error:
        return timings | {"problem": str(error)}
    # Whether it is on is apart from when it is due.
    timings["is_edited"] = current is not None and current.interval != spec.every
    return timings


def _set(request: HttpRequest, spec: JobSpec, *, before: Any, note: str) -> None:
    now = beat.schedule.entry_of(spec)
    log_job(request.user, spec, f"Schedule: {now} (before: {before or 'none'}).", reason(request))
    messages.success(request, f"Set the schedule of {spec.name}: {now}.")
    if note:
        messages.warning(request, note)
