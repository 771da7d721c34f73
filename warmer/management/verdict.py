"""Whether a warm was one: the exit status of `warm_cache`, and what is said of it."""

from __future__ import annotations

from django.conf import settings

from warmer.management.watching import Watch
from warmer.models import State, WarmingRun
from warmer.stores import keeps_nothing

INCOMPLETE, OUT_OF_TIME = 1, 3


def status_of(watch: Watch, runs: dict[str, WarmingRun], *, waited: bool) -> int:
    """Return the exit status: every required job must be complete; without a wait, asked for."""
    required = [runs.get(spec.name) for spec in watch.specs if spec.required]
    if any(run is not None and run.is_final and not _is_complete(run) for run in required):
        return INCOMPLETE if not watch.is_out_of_time else OUT_OF_TIME
    is_done = _is_complete if waited else bool
    return 0 if all(map(is_done, required)) else OUT_OF_TIME


def _is_complete(run: WarmingRun | None) -> bool:
    return run is not None and run.state == State.COMPLETE and not _stored_nothing(run)


def _stored_nothing(run: WarmingRun | None) -> bool:
    """Whether every key of a run was fenced: a few are cold and no fault, all of them is no warm."""
    return run is not None and 0 < run.fenced == run.report.keys


def what_is_incomplete(watch: Watch, runs: dict[str, WarmingRun]) -> str:
    """Say which required jobs are not complete, and why nothing could be stored of some."""
    required = [spec for spec in watch.specs if spec.required]
    names = ", ".join(spec.name for spec in required if not _is_complete(runs.get(spec.name)))
    told = [f"Not complete, though required: {names}."]
    emptied = [spec for spec in required if _stored_nothing(runs.get(spec.name))]
    for alias in sorted({spec.cache for spec in emptied}):
        jobs = ", ".join(spec.name for spec in emptied if spec.cache == alias)
        told.append(f"Nothing could be stored of {jobs}: {_why_nothing(alias)}.")
    return " ".join(told)


def _why_nothing(alias: str) -> str:
    if keeps_nothing(alias):
        backend = settings.CACHES[alias]["BACKEND"]
        return f"the cache {alias!r} ({backend}) keeps nothing; use a Redis cache"
    return (
        "changes overtook every try, or the cache lost the fence, as one that is far too small does: see "
        "'manage.py cache_doctor'"
    )
