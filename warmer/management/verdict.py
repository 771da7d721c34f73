"""Whether a warm was one: the exit status of `warm_cache`, and what is said of it."""

from __future__ import annotations

from django.conf import settings

from warmer.declarations.spec import JobSpec
from warmer.management.watching import Watch
from warmer.models import State, WarmingRun
from warmer.stores import keeps_nothing

INCOMPLETE, OUT_OF_TIME = 1, 3


def status_of(watch: Watch, runs: dict[str, WarmingRun], *, waited: bool) -> int:
    """Return the exit status: every required job must be complete; without a wait, asked for."""
    required = {spec: runs.get(spec.name) for spec in watch.specs if spec.required}
    if any(
        run is not None and run.is_final and not _is_complete(spec, run) for spec, run in required.items()
    ):
        return INCOMPLETE if not watch.is_out_of_time else OUT_OF_TIME
    is_done = all(_is_complete(spec, run) if waited else run is not None for spec, run in required.items())
    return 0 if is_done else OUT_OF_TIME


def what_is_incomplete(watch: Watch, runs: dict[str, WarmingRun]) -> str:
    """Say which required jobs are not complete."""
    missed = [spec for spec in watch.specs if spec.required and not _is_complete(spec, runs.get(spec.name))]
    return f"Not complete, though required: {', '.join(spec.name for spec in missed)}."


def what_was_not_stored(watch: Watch, runs: dict[str, WarmingRun]) -> list[str]:
    """Say, a line a cache, of which jobs no key was stored, and why: they are cold."""
    cold = [spec for spec in watch.specs if _stored_nothing(runs.get(spec.name))]
    lines = []
    for alias in sorted({spec.cache for spec in cold}):
        names = ", ".join(spec.name for spec in cold if spec.cache == alias)
        lines.append(f"Nothing could be stored of {names}: {_why_nothing(alias)}.")
    return lines


def _is_complete(spec: JobSpec, run: WarmingRun | None) -> bool:
    """Whether a job is warm as far as it can be: changes may overtake it, which is no fault."""
    if run is None or run.state != State.COMPLETE:
        return False
    return not (_stored_nothing(run) and keeps_nothing(spec.cache))


def _stored_nothing(run: WarmingRun | None) -> bool:
    return run is not None and 0 < run.superseded == run.report.keys


def _why_nothing(alias: str) -> str:
    if keeps_nothing(alias):
        backend = settings.CACHES[alias]["BACKEND"]
        return f"the cache {alias!r} ({backend}) keeps nothing; use a Redis cache"
    return (
        "changes overtook every try, or the cache lost the fence, as one that is far too small does: see "
        "'manage.py cache_doctor'"
    )
