"""What somebody can do with jobs: each by POST, with a permission of its own, and logged with who and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from warmer import invalidation
from warmer.admin import beat, permissions
from warmer.admin.log import log_job, reason
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import UnknownJob, WarmerError
from warmer.models import JobObservation, State, Trigger, WarmingRun
from warmer.tasks import request_audit, request_run

# More than these are counted: a thousand messages tell less than one.
MESSAGES_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of an action on one job.

    Attributes:
        text: for the person who did it. The admin capitalises it, so it does not begin with a job's name.
        entry: for the admin log; empty when nothing was done.
        run: the run that it led to.
    """

    text: str
    level: int = messages.SUCCESS
    entry: str = ""
    run: WarmingRun | None = None


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something that can be done with jobs.

    Attributes:
        name: in its address.
        label: on its button.
        permission: who may.
        perform: does it.
        question: what is asked before, where it deletes.
        empties: what was seen of the keys no longer holds after it.
    """

    name: str
    label: str
    permission: str
    perform: Callable[[Any, JobSpec], Done]
    question: str = ""
    empties: bool = False

    @property
    def view(self) -> str:
        """The name of its address."""
        return f"admin:warmer_job_{self.name}"


def _warm(user: Any, spec: JobSpec) -> Done:
    opened = request_run(spec.name, Trigger.ADMIN, user=user)
    run = opened.run
    if opened.joined:
        text = f"Already being warmed: {run.job}, by run {run.pk} ({run.trigger})."
        if opened.leaves_cached:
            text += " It leaves keys alone that are cached: ask again when it has ended, for all of them."
        return Done(text=text, level=messages.INFO, entry=f"Warm now: joined run {run.pk}.", run=run)
    entry = f"Warm now: run {run.pk}."
    if run.state in (State.QUEUED, State.RUNNING):
        return Done(text=f"Asked for run {run.pk} of {run.job}.", entry=entry, run=run)
    if run.state == State.COMPLETE:
        return Done(text=f"Run {run.pk} of {run.job} is complete.", entry=entry, run=run)
    text = f"Run {run.pk} of {run.job} is {run.state}: {run.error}"
    return Done(text=text, level=messages.ERROR, entry=entry, run=run)


def _invalidate(_user: Any, spec: JobSpec) -> Done:
    if invalidation.request(spec, using="default"):
        return Done(text=f"Invalidated: every key of {spec.name}.", entry="Invalidated every key.")
    text = (
        f"Asked for: every key of {spec.name} is invalidated by a worker. Until then it counts as pending, "
        "and readers may see old values."
    )
    return Done(text=text, level=messages.WARNING, entry="Asked for every key to be invalidated.")


def _pause(_user: Any, spec: JobSpec) -> Done:
    return _switch(spec, on=False)


def _resume(_user: Any, spec: JobSpec) -> Done:
    return _switch(spec, on=True)


def _switch(spec: JobSpec, *, on: bool) -> Done:
    if beat.schedule is None:
        return Done(text=f"Nothing schedules {spec.name}: beat is not installed.", level=messages.ERROR)
    changed = beat.schedule.switch(spec, on=on)
    if not changed:
        said = "Not paused" if on else "Paused already"
        return Done(text=f"{said}: {spec.name}.", level=messages.INFO)
    if on:
        return Done(text=f"Resumed: {spec.name}. The schedule warms it again.", entry="Resumed the schedule.")
    text = f"Paused: {spec.name}. The schedule leaves it alone; changes, deploys and people still warm it."
    return Done(text=text, entry="Paused the schedule.")


def _audit(_user: Any, spec: JobSpec) -> Done:
    if problem := request_audit(spec):
        return Done(text=f"No audit of {spec.name}: {problem}", level=messages.ERROR)
    return Done(text=f"Asked for an audit of {spec.name}.", entry="Asked for an audit.")


ACTIONS = (
    Action(name="warm", label="Warm now", permission=permissions.WARM, perform=_warm),
    Action(name="audit", label="Audit", permission=permissions.AUDIT, perform=_audit),
    Action(name="pause", label="Pause", permission=permissions.PAUSE, perform=_pause),
    Action(name="resume", label="Resume", permission=permissions.PAUSE, perform=_resume),
    Action(
        name="invalidate",
        label="Invalidate",
        permission=permissions.INVALIDATE,
        perform=_invalidate,
        question="Every key of these jobs is deleted from the cache. Until they are warm again, each first "
        "read of a key costs a load from the database.",
        empties=True,
    ),
)


def allowed(user: Any) -> dict[str, bool]:
    """Return which actions a user may take, by name."""
    return {action.name: user.has_perm(action.permission) for action in ACTIONS}


def act(request: HttpRequest, action: Action, context: dict[str, Any]) -> HttpResponse:
    """Take an action on the jobs that a request names.

    Args:
        context: what the admin's pages have in common, for the page that asks.
    """
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.has_perm(action.permission):
        raise PermissionDenied
    try:
        specs = [jobs[name].spec for name in _asked_for(request)]  # all known, before any is begun
    except UnknownJob as error:
        messages.error(request, str(error))
        return _back()
    if not specs:
        messages.warning(request, "No job was chosen.")
        return _back()
    why = reason(request)
    if action.question and "confirmed" not in request.POST:
        asked = {"title": f"{action.label}: are you sure?", "action": action, "specs": specs, "why": why}
        return TemplateResponse(request, "admin/warmer/confirm.html", context | asked)
    done = [_perform(request.user, action, spec, why) for spec in specs]
    _tell(request, done)
    return _answer(request, [each.run for each in done if each.run is not None])


def _perform(user: Any, action: Action, spec: JobSpec, why: str) -> Done:
    try:
        done = action.perform(user, spec)
    except WarmerError as error:
        return Done(text=f"{action.label}: {error}", level=messages.ERROR)
    if done.entry and action.empties:
        JobObservation.objects.forget_keys(spec.name)
    if done.entry:
        log_job(user, spec, done.entry, why)
    return done


def _tell(request: HttpRequest, done: list[Done]) -> None:
    worst_first = sorted(done, key=lambda each: -each.level)
    for each in worst_first[:MESSAGES_SHOWN]:
        messages.add_message(request, each.level, each.text)
    if len(done) > MESSAGES_SHOWN:
        messages.info(request, f"And so for {len(done) - MESSAGES_SHOWN:,} more jobs.")


def _answer(request: HttpRequest, runs: list[WarmingRun]) -> HttpResponse:
    if not runs or not request.user.has_perm(permissions.VIEW_RUNS):
        return _back()
    if len(runs) == 1:
        return redirect("admin:warmer_warmingrun_change", runs[0].pk)
    if len(runs) > MESSAGES_SHOWN:  # too many for an address
        return redirect("admin:warmer_warmingrun_changelist")
    numbers = ",".join(str(run.pk) for run in runs)
    return redirect(f"{reverse('admin:warmer_warmingrun_changelist')}?id__in={numbers}")


def _back() -> HttpResponse:
    return redirect("admin:app_list", app_label="warmer")


def _asked_for(request: HttpRequest) -> Iterable[str]:
    if "all" in request.POST:
        return list(jobs)
    if "only" in request.POST:
        return [request.POST["only"]]
    return request.POST.getlist("job")
