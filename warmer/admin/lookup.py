"""One key of a job: whether it is cached, and actions on it. Pages never read its value."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import router
from django.http import HttpRequest

from warmer import invalidation
from warmer.admin import base
from warmer.admin.actions import Action, Done, perform
from warmer.declarations.spec import JobSpec
from warmer.exceptions import InvalidId, StoreUnavailable, WarmerError
from warmer.filling import pipeline
from warmer.filling.batches import find_ids
from warmer.keys import Id, type_of
from warmer.models import WarmingRun
from warmer.report import Outcome, describe


def look_up(spec: JobSpec, text: str) -> dict[str, Any]:
    """Look up a key of a job, in at most two round trips to its cache.

    Args:
        text: its id; ignored for a single job.

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

    Whether it can be part of a key is checked when the key is made.

    Raises:
        InvalidId: it is not of that type.
    """
    if not spec.keyed:
        return None
    example = _declared_id(spec)
    try:
        return (str if example is None else type_of(example))(text.strip())
    except ValueError:
        raise InvalidId(f"{text!r} is not an id of {spec.name}: its ids are like {example}") from None


def _declared_id(spec: JobSpec) -> Id | None:
    """Return one of the declared ids, if there currently is one."""
    try:
        return next(iter(find_ids(spec, at_most=1)), None)
    except Exception as error:
        raise InvalidId(f"the declared ids of {spec.name} cannot be read: {describe(error)}") from error


def act(request: HttpRequest, spec: JobSpec) -> None:
    """Perform the action that a form requests, on the key of the id in its field `id`."""
    action = ACTIONS[request.POST["action"]]
    if not request.user.has_perm(action.permission):
        raise PermissionDenied
    done = perform(request, action, spec, text=request.POST.get("id", ""))
    messages.add_message(request, done.level, done.text)


def _warm(_user: Any, spec: JobSpec, *, text: str) -> Done:
    id = id_of(spec, text)
    if spec.keyed and _declared_id(spec) is None:  # a loader that gets another type finds nothing
        raise InvalidId(f"{spec.name} currently declares no ids, so the type of its ids is unknown")
    key = spec.key.key(id)
    report = pipeline.warm(spec, None if id is None else [id])
    outcome = next(each for each in Outcome if getattr(report, each.value))
    if outcome is Outcome.WRITTEN:
        return Done(text=f"Warmed {key}.", entry=f"Warmed {key}.")
    why = {
        Outcome.SUPERSEDED: "changes overtook each load. The next read loads it.",
        Outcome.NO_VALUE: "the loader has no value.",
    }.get(outcome) or report.failures[0].error
    level = messages.ERROR if outcome is Outcome.FAILED else messages.WARNING
    return Done(text=f"Not warmed: {key}: {why}", level=level, entry=f"Warmed {key}: {outcome}.")


def _invalidate(_user: Any, spec: JobSpec, *, text: str) -> Done:
    id = id_of(spec, text)
    key, ids = spec.key.key(id), None if id is None else frozenset({id})
    if invalidation.request(spec, ids, using=router.db_for_write(WarmingRun)):
        return Done(text=f"Invalidated {key}.", entry=f"Invalidated {key}.")
    text = f"Recorded: a worker will invalidate {key}. Until then readers may see the old value."
    return Done(text=text, level=messages.WARNING, entry=f"Requested invalidation of {key}.")


_ALL_ACTIONS = (
    Action(name="warm_key", label="Warm this key", permission=base.WARM, perform=_warm),
    Action(
        name="invalidate_key", label="Invalidate this key", permission=base.INVALIDATE, perform=_invalidate
    ),
)
ACTIONS = {action.name: action for action in _ALL_ACTIONS}
