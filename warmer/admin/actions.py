"""Actions on jobs and on single keys: each has its own permission, and is logged with its reason.

A page tells whether a key is cached, and never reads its value.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import router
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from warmer import invalidation
from warmer.admin import base
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import InvalidId, StoreUnavailable, UnknownJob, WarmerError
from warmer.filling import pipeline
from warmer.filling.loading import find_ids
from warmer.keys import Id, type_of
from warmer.models import JobObservation, State, Trigger, WarmingRun
from warmer.report import Outcome, describe
from warmer.tasks import request_audit, request_run

# More are only counted: a thousand messages would not help.
MESSAGES_SHOWN = 10
ALL = "*"


@dataclass(frozen=True, kw_only=True)
class Done:
    """The result of an action on one job, as text for the user and the admin log.

    The admin capitalizes the text, so it does not start with the name of a job.
    """

    text: str
    level: int = messages.SUCCESS
    run: WarmingRun | None = None


@dataclass(frozen=True, kw_only=True)
class Action:
    """An action on jobs. One that deletes has a question to confirm, about "this job" or "these jobs"."""

    label: str
    permission: str
    perform: Callable[..., Done]
    question: str = ""


def warm(user: Any, spec: JobSpec, *, only_keys: Sequence[str] | None = None) -> Done:
    """Request a run of a job, or of some of its keys."""
    opened = request_run(spec.name, Trigger.ADMIN, user=user, only_keys=only_keys)
    run = opened.run
    if opened.joined:
        text = f"Joined run {run.pk} of {run.job} ({run.trigger}), which had not ended."
        return Done(text=text, level=messages.INFO, run=run)
    is_bad = run.is_final and run.state != State.COMPLETE
    text = f"Requested run {run.pk} of {run.job}: {run.state}. {run.error}".strip()
    return Done(text=text, level=messages.ERROR if is_bad else messages.SUCCESS, run=run)


def _invalidate(_user: Any, spec: JobSpec, *, text: str | None = None) -> Done:
    """Invalidate every key of a job, or the key of an id entered by a user."""
    id = None if text is None else id_of(spec, text)
    what = f"every key of {spec.name}" if text is None else spec.key.key(id)
    ids = None if id is None else frozenset({id})
    is_done = invalidation.request(spec, ids, using=router.db_for_write(WarmingRun))
    if text is None:  # until the next check nothing is known of its keys
        JobObservation.objects.filter(job=spec.name).update(observed_at=None, error="", sampled=0, no_value=0)
    if is_done:
        return Done(text=f"Invalidated {what}.")
    later = f"Recorded: a worker invalidates {what}, within a second if the cache answers."
    level = messages.WARNING
    if text is None and spec.keyed:  # only workers look for every key of a job, so perhaps nothing is wrong
        with suppress(StoreUnavailable):
            spec.store.ping()
            level = messages.INFO
    return Done(text=f"{later} Until then readers may see old values.", level=level)


def _switch(_user: Any, spec: JobSpec, *, on: bool) -> Done:
    base.schedule.switch(spec, on=on)
    effect = "warms it again" if on else "skips it"
    return Done(text=f"{'Resumed' if on else 'Paused'} {spec.name}: the schedule {effect}.")


def _audit(_user: Any, spec: JobSpec, *, repair: bool = False) -> Done:
    request_audit(spec, repair=repair)
    return Done(text=f"Queued an audit{' with repair' if repair else ''} of {spec.name}.")


def _warm_key(_user: Any, spec: JobSpec, *, text: str) -> Done:
    id = id_of(spec, text)
    if isinstance(id, str) and not any(True for _ in find_ids(spec, at_most=1)):
        # A loader that gets a string instead of an int may find no value, which `negative_timeout` caches.
        raise InvalidId(f"{spec.name} currently declares no ids, so the type of its ids is unknown")
    key = spec.key.key(id)
    report = pipeline.warm(spec, None if id is None else [id])
    outcome = next(each for each in Outcome if getattr(report, each.value))
    if outcome is Outcome.WRITTEN:
        return Done(text=f"Warmed {key}.")
    why = report.failures[0].error if report.failures else outcome
    return Done(text=f"Not warmed: {key}: {why}", level=messages.ERROR)


_repair, _pause, _resume = partial(_audit, repair=True), partial(_switch, on=False), partial(_switch, on=True)
ACTIONS = {
    "warm": Action(label="Warm now", permission=base.WARM, perform=warm),
    "audit": Action(label="Audit", permission=base.AUDIT, perform=_audit),
    "repair": Action(label="Audit and repair", permission=base.INVALIDATE, perform=_repair),
    "pause": Action(label="Pause", permission=base.PAUSE, perform=_pause),
    "resume": Action(label="Resume", permission=base.PAUSE, perform=_resume),
    "invalidate": Action(
        label="Invalidate",
        permission=base.INVALIDATE,
        perform=_invalidate,
        question="This deletes every key of {} from the cache. Until a key is warm again, its next "
        "read loads it from the database.",
    ),
}
if base.schedule is None:
    del ACTIONS["pause"], ACTIONS["resume"]
KEY_ACTIONS = {
    "warm_key": Action(label="Warm this key", permission=base.WARM, perform=_warm_key),
    "invalidate_key": Action(label="Invalidate this key", permission=base.INVALIDATE, perform=_invalidate),
}


def allowed(user: Any, among: Mapping[str, Action] = ACTIONS) -> dict[str, Action]:
    """Return the actions that a user may perform, by name."""
    return {name: action for name, action in among.items() if user.has_perm(action.permission)}


def act(request: HttpRequest, render: Callable[..., HttpResponse]) -> HttpResponse:
    """Perform the action that a form requests, on the jobs that it names, after `render` asked to confirm it.

    Its field `action` is "ACTION", for the jobs in the field `job`, or "ACTION JOB"; `ALL` is every job.
    """
    name, _, job = request.POST.get("action", "").partition(" ")
    action = permitted(request, ACTIONS.get(name))
    names = list(jobs) if job == ALL else [job] if job else request.POST.getlist("job")
    back = redirect(request.get_full_path())
    try:
        specs = [jobs[name].spec for name in names]  # check that all exist before starting with the first
    except UnknownJob as error:
        messages.error(request, str(error))
        return back
    if not specs:
        messages.warning(request, "No job was selected.")
        return back
    if action.question and "confirmed" not in request.POST:
        known = JobObservation.objects.in_bulk([spec.name for spec in specs], field_name="job")
        context = {
            "title": f"{action.label}: are you sure?",
            "question": action.question.format("this job" if len(specs) == 1 else "these jobs"),
            "observed": [(spec, known.get(spec.name)) for spec in specs],
            "name": name,
            "label": action.label,
            "why": base.reason(request),
        }
        return render(request, "admin/warmer/confirm.html", context)
    runs = perform(request, action, specs)
    if not runs or not request.user.has_perm(base.VIEW_RUNS):
        return back
    page = ("warmer_warmingrun_change", runs[0].pk) if len(runs) == 1 else ("warmer_warmingrun_changelist",)
    return redirect(base.url(request, *page))


def perform(
    request: HttpRequest, action: Action, specs: Sequence[JobSpec], **options: Any
) -> list[WarmingRun]:
    """Perform an action on jobs, log it, and show the results; return the runs that perform it."""
    done = []
    for spec in specs:
        try:
            done.append(action.perform(request.user, spec, **options))
        except WarmerError as error:
            done.append(Done(text=f"{action.label}: {error}", level=messages.ERROR))
        else:
            base.log(request, spec.name, done[-1].text)
    for each in sorted(done, key=lambda each: -each.level)[:MESSAGES_SHOWN]:
        messages.add_message(request, each.level, each.text)
    if len(done) > MESSAGES_SHOWN:
        messages.info(request, f"The same for {len(done) - MESSAGES_SHOWN:,} more jobs.")
    return [each.run for each in done if each.run is not None]


def permitted(request: HttpRequest, action: Action | None) -> Action:
    """Return an action that the user may perform; refuse the request if there is none."""
    if action is None or not request.user.has_perm(action.permission):
        raise PermissionDenied
    return action


def look_up(spec: JobSpec, text: str) -> dict[str, Any]:
    """Look up the key of an id entered by a user, in at most two round trips to its cache.

    Returns:
        The key, whether it is cached, the seconds `left` until it expires, its age, which includes a job's
        jitter, and the `size` of its value in bytes; or the problem.
    """
    try:
        key = spec.key.key(id_of(spec, text))
        lives = spec.store.remaining([key])
        size = spec.store.size(key) if key in lives else None
    except WarmerError as error:
        return {"text": text, "problem": describe(error), "is_outage": isinstance(error, StoreUnavailable)}
    left = lives.get(key)
    age = None if left is None else max(0.0, spec.timeout.total_seconds() - left)
    return {"text": text, "key": key, "is_cached": key in lives, "left": left, "age": age, "size": size}


def id_of(spec: JobSpec, text: str) -> Id | None:
    """Parse an id entered by a user as the type of the declared ids; None for a single job.

    Raises:
        InvalidId: it is not of that type, or the declared ids cannot be read.
    """
    if not spec.keyed:
        return None
    try:
        example = next(iter(find_ids(spec, at_most=1)), "")
    except Exception as error:
        raise InvalidId(f"the declared ids of {spec.name} cannot be read: {describe(error)}") from error
    try:
        return type_of(example)(text.strip())
    except ValueError:
        raise InvalidId(f"{text!r} is not an id of {spec.name}: its ids are like {example}") from None
