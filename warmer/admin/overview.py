"""The overview of all jobs: their states, and a row for each with everything an operator needs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest
from django.template import RequestContext
from django.utils import timezone

from warmer.admin import base, health, history
from warmer.admin.actions import allowed
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.invalidation import Backlog
from warmer.models import BEAT_SILENCE, CacheAudit, JobObservation, State, Trigger, WarmingRun, elsewhere

PER_PAGE = 50
STATES = ("wrong", "failed", "paused", "cold", "partial", "unknown", "queued", "running", "warm")
"""The states of a job, most urgent first."""
# The state of a job whose newest run is in this state.
_OF_RUN: dict[str | None, str] = {
    **dict.fromkeys((State.FAILED, State.LOST, State.EXPIRED), "failed"),
    State.INCOMPLETE: "partial",
    State.QUEUED: "queued",
    State.RUNNING: "running",
}
# A worker takes a queued run within moments, unless it is busy or gone.
LONG_QUEUED = timedelta(seconds=30)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A job on the overview."""

    spec: JobSpec
    state: str  # one of `STATES`
    observation: JobObservation | None
    runs: list[WarmingRun]  # newest first
    entry: Any  # in beat
    pending: int
    audit: CacheAudit | None

    @property
    def run(self) -> WarmingRun | None:
        return next(iter(self.runs), None)

    @property
    def paused(self) -> bool:
        """Whether the schedule is switched off, regardless of the state."""
        return self.entry is not None and not self.entry.enabled

    @property
    def due(self) -> datetime | None:
        """When beat sends its next run."""
        scheduled = (run.requested_at for run in self.runs if run.trigger == Trigger.SCHEDULE)
        return self.entry.due(next(scheduled, None)) if self.entry else None

    @property
    def queued_for(self) -> timedelta | None:
        """How long its run has been waiting for a worker, if unusually long."""
        if self.run is None or self.run.state != State.QUEUED:
            return None
        waited = timezone.now() - self.run.requested_at
        return waited if waited > LONG_QUEUED else None

    @property
    def oldest(self) -> timedelta | None:
        """The age now of the oldest key that was checked; None if unknown or expired."""
        seen = self.observation
        if seen is None or seen.oldest_seconds is None or seen.observed_at is None:
            return None
        age = timedelta(seconds=seen.oldest_seconds) + (timezone.now() - seen.observed_at)
        return age if age < self.spec.timeout else None

    @property
    def mean(self) -> float | None:
        """The mean duration of its last complete runs, in seconds."""
        times = [run.took for run in self.runs if run.state == State.COMPLETE and run.took is not None]
        return sum(times) / len(times) if times else None


def warmer_overview(context: RequestContext) -> dict[str, Any] | None:
    """Return the context of the overview for a user; None if the user may not view jobs."""
    request: HttpRequest = context["request"]
    if not base.may_see_jobs(request.user):
        return None
    return overview(request.GET) | {"actions": allowed(request.user)}


def overview(query: Mapping[str, str]) -> dict[str, Any]:
    """Return a page of jobs. The number of queries depends on neither jobs nor runs.

    Args:
        query: `q`: part of a name or a key; `state`: one of `STATES`; `p`: the page number.
    """
    search, state = query.get("q", "").strip(), query.get("state", "")
    found = [spec for spec in jobs.specs() if search.lower() in f"{spec.name} {spec.key}".lower()]
    strip = health.Health()  # first, because it queries servers while the queries below run
    table = Table(found, strip.caches)
    states, counted = table.states, Counter(table.states.values())
    listed = [spec for spec in found if state in ("", states[spec.name])]
    listed.sort(key=lambda spec: STATES.index(states[spec.name]))
    page = Paginator(listed, PER_PAGE).get_page(query.get("p"))
    rows = table.rows(page.object_list, strip.backlog)
    return {
        "rows": rows,
        "page": page,
        "states": [(name, counted[name]) for name in STATES if counted[name] or name == state],
        "found": len(found),
        "declared": len(jobs),
        "search": search,
        "state": state,
        "health": strip,
        "elsewhere": elsewhere(row.observation for row in rows if row.observation),
    }


class Table:
    """The states of jobs: of each the first of `STATES` that holds; and the rows of some of them."""

    def __init__(self, specs: Sequence[JobSpec], caches: health.Caches) -> None:
        names = [spec.name for spec in specs]
        self._observations = {row.job: row for row in JobObservation.objects.all()}
        # A round may take longer, so one job's old observation does not mean that observations have stopped.
        silent_since = timezone.now() - BEAT_SILENCE
        is_observed = any(row.attempted_at >= silent_since for row in self._observations.values())
        last = {name: run.state for name, run in WarmingRun.objects.latest_per_job(names).items()}
        self._entries = base.schedule.entries(names) if base.schedule else {}
        paused = {name for name, entry in self._entries.items() if not entry.enabled}
        self._audits = CacheAudit.objects.latest_per_job(names)
        wrong = {name for name, audit in self._audits.items() if audit.unrepaired}
        down = health.unanswered(caches)  # last, because it waits for their answers
        self.states = {}
        for spec in specs:
            name, row = spec.name, self._observations.get(spec.name)
            observed = row.state if row and is_observed and spec.cache not in down else None
            of_run = _OF_RUN.get(last.get(name))
            holding = {observed, of_run, name in wrong and "wrong", name in paused and "paused"}
            self.states[name] = next((state for state in STATES if state in holding), "unknown")

    def rows(self, specs: Iterable[JobSpec], backlog: Backlog) -> list[Row]:
        names = [spec.name for spec in specs]
        runs = WarmingRun.objects.recent_per_job(names, each=history.BARS)
        return [
            Row(
                spec=spec,
                state=self.states[spec.name],
                observation=self._observations.get(spec.name),
                runs=runs[spec.name],
                entry=self._entries.get(spec.name),
                pending=backlog.by_job[spec.name],
                audit=self._audits.get(spec.name),
            )
            for spec in specs
        ]
