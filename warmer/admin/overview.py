"""The overview: what the person on call needs to know of every job, with a fixed number of queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.core.paginator import Page, Paginator
from django.utils import timezone
from django.utils.safestring import SafeString

from warmer import invalidation
from warmer.admin import beat, cells
from warmer.admin.sparkline import BARS, sparkline
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.invalidation import Backlog, triggers
from warmer.models import ACTIVE, CacheAudit, JobObservation, State, WarmingRun

PER_PAGE = 50
# From the most urgent on.
STATES = ("failed", "running", "cold", "partly", "paused", "warm", "unknown")
_BAD = (State.FAILED, State.LOST, State.EXPIRED)
# Observed every minute: what is older than this means that nobody looks.
STALE = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A job on the overview.

    Attributes:
        state: one of `STATES`.
        paused: the schedule's entry is switched off, whatever the state.
        runs: its newest runs, newest first.
        entry: what beat has for it.
        pending: how many invalidations wait for it.
    """

    spec: JobSpec
    state: str
    paused: bool
    observation: JobObservation | None
    runs: list[WarmingRun]
    entry: Any
    pending: int
    audit: CacheAudit | None

    @property
    def name(self) -> SafeString:
        """The job's name, which narrow columns can break."""
        return cells.name(self.spec.name)

    @property
    def run(self) -> WarmingRun | None:
        """The newest run."""
        return self.runs[0] if self.runs else None

    @property
    def mean(self) -> float | None:
        """How long its last complete runs took on average, in seconds."""
        times = [run.took for run in self.runs if run.state == State.COMPLETE and run.took is not None]
        return sum(times) / len(times) if times else None

    @property
    def drawing(self) -> SafeString:
        """How long its last runs took."""
        return sparkline(self.runs)

    @property
    def is_stale(self) -> bool:
        """Whether nobody has looked at its keys for long."""
        seen = self.observation.observed_at if self.observation else None
        return seen is not None and timezone.now() - seen > STALE

    @property
    def is_before_run(self) -> bool:
        """Whether the newest run has ended since somebody looked at its keys."""
        seen = self.observation.observed_at if self.observation else None
        ended = self.run.finished_at if self.run else None
        return seen is not None and ended is not None and seen < ended

    @property
    def due(self) -> datetime | None:
        """When beat sends it next."""
        return self.entry.due if self.entry else None

    @property
    def audit_share(self) -> str:
        """The share that the last audit found right; where nothing is cached, how many keys are missing."""
        if self.audit is None:
            return ""
        if self.audit.missing and not (self.audit.right or self.audit.wrong):
            return f"{self.audit.missing:,} missing"
        return self.audit.share

    @property
    def audit_counts(self) -> str:
        """What the last audit found beside, in words."""
        if self.audit is None:
            return ""
        counts = {name: getattr(self.audit, name) for name in ("wrong", "missing", "failed")}
        said = [f"{count:,} {name}" for name, count in counts.items() if count]
        return "".join(f"{each}, " for each in said if each != self.audit_share)

    @property
    def audit_ok(self) -> bool:
        """Whether the last audit found nothing wrong."""
        return self.audit is not None and self.audit.ok


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A state to choose: how many jobs are in it, and the address of their list."""

    state: str
    count: int
    address: str
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A page of jobs."""

    rows: list[Row]
    page: Page[JobSpec]
    choices: list[Choice]
    total: int
    declared: int
    search: str
    state: str
    backlog: Backlog
    uncaptured: list[triggers.Problem]

    @property
    def other_pages(self) -> str:
        """The address of another page, but for its number."""
        return "?" + urlencode({"q": self.search, "state": self.state, "p": ""})


def overview(asked: Mapping[str, str]) -> Overview:
    """Return a page of jobs, with a number of queries that grows with neither jobs nor runs.

    Args:
        asked: `q`: part of a name or a key; `state`: one of `STATES`; `p`: the page's number.
    """
    search, state = asked.get("q", "").strip(), asked.get("state", "")
    names = list(jobs)
    observations = JobObservation.objects.by_job(names)
    last, paused = WarmingRun.objects.latest_states(names), _paused()
    found = [spec for spec in jobs.specs() if search.lower() in f"{spec.name} {spec.key}".lower()]
    states = {
        spec.name: _state(last.get(spec.name), observations.get(spec.name), paused=spec.name in paused)
        for spec in found
    }
    listed = [spec for spec in found if state in ("", states[spec.name])]
    page = Paginator(listed, PER_PAGE).get_page(asked.get("p"))
    shown = [spec.name for spec in page.object_list]
    runs = WarmingRun.objects.recent_per_job(shown, each=BARS)
    entries = beat.schedule.entries(shown) if beat.schedule else {}
    audits, pending = CacheAudit.objects.latest_per_job(shown), invalidation.by_job()
    rows = [
        Row(
            spec=spec,
            state=states[spec.name],
            paused=spec.name in paused,
            observation=observations.get(spec.name),
            runs=runs[spec.name],
            entry=entries.get(spec.name),
            pending=pending[spec.name],
            audit=audits.get(spec.name),
        )
        for spec in page.object_list
    ]
    return Overview(
        rows=rows,
        page=page,
        choices=_choices(states, search=search, chosen=state),
        total=len(found),
        declared=len(names),
        search=search,
        state=state,
        backlog=invalidation.backlog(),
        uncaptured=_uncaptured(),
    )


def _state(last: str | None, seen: JobObservation | None, *, paused: bool) -> str:
    """Return a job's state: the first that holds of running, failed, paused, and how warm it is."""
    if last in ACTIVE:
        return "running"
    if last in _BAD:
        return "failed"
    if paused:
        return "paused"
    state = seen.state if seen else None
    if state == "warm" and last == State.INCOMPLETE:
        return "partly"
    return state or "unknown"


def _uncaptured() -> list[triggers.Problem]:
    """Return the tables whose changes no trigger records; a query for each database."""
    if not invalidation.captures_by_triggers():
        return []
    return [problem for alias in triggers.databases() for problem in triggers.problems(alias)]


def _paused() -> set[str]:
    found: set[str] = beat.schedule.paused() if beat.schedule else set()
    return found


def _choices(states: Mapping[str, str], *, search: str, chosen: str) -> list[Choice]:
    counted = Counter(states.values())
    return [
        Choice(
            state=state,
            count=counted[state],
            address="?" + urlencode({"q": search, "state": state}),
            chosen=state == chosen,
        )
        for state in STATES
        if counted[state] or state == chosen
    ]
