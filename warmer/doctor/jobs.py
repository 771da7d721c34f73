"""The jobs: whether their keys live until the next refresh, and what waits to be invalidated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from warmer import invalidation
from warmer.declarations.spec import JobSpec
from warmer.doctor.check import ProjectCheck
from warmer.doctor.finding import Finding, NotApplicable, error, info, ok, warning
from warmer.doctor.project import Project
from warmer.humanize import counted, duration
from warmer.invalidation import triggers

# A worker looks twice a second, and with pauses of up to half a minute while a cache is away.
LATE = timedelta(seconds=30)
VERY_LATE = timedelta(minutes=5)


@dataclass(frozen=True)
class JobTtl(ProjectCheck):
    """A job's keys live longer than it takes until they are refreshed."""

    id = "job-ttl"
    subject = "jobs"
    after = ("database",)

    def look(self, project: Project) -> Iterator[Finding]:
        entries = project.beat().entries if project.beat else {}
        scheduled = [spec for spec in project.specs if spec.every is not None or spec.name in entries]
        if not scheduled:
            raise NotApplicable("no job is scheduled")
        found = [finding for spec in scheduled for finding in _judge(spec, entries.get(spec.name))]
        yield from found or [ok(f"{counted(len(scheduled), 'scheduled job')}: keys outlive a missed refresh")]


@dataclass(frozen=True)
class Capture(ProjectCheck):
    """Every change of a table that a job depends on is captured."""

    id = "capture"
    subject = "jobs"
    after = ("database",)

    def look(self, project: Project) -> Iterator[Finding]:
        if not any(spec.depends_on for spec in project.specs):
            raise NotApplicable("no job depends on a table")
        if not invalidation.captures_by_triggers():
            yield info(
                "Changes are captured by Django's signals.",
                why="update(), bulk operations, SET_NULL, raw SQL, data migrations and other programs send "
                "none: after these, old values stay until their timeout.",
                fix="WARMER_CAPTURE = 'triggers'\nin the settings, and 'manage.py migrate'; it takes "
                "PostgreSQL or SQLite. Otherwise call invalidate_for() after such changes.",
            )
            return
        found = triggers.problems()
        for problem in found:
            yield warning(
                f"{problem.table} on {problem.using!r} {problem.why}.",
                why="Some of its changes leave old values in the cache.",
                fix=problem.fix,
            )
        if not found:
            yield ok("every table that a job depends on has its triggers")


@dataclass(frozen=True)
class PendingInvalidations(ProjectCheck):
    """What was changed is invalidated at once."""

    id = "pending-invalidations"
    subject = "jobs"
    after = ("database",)

    def look(self, project: Project) -> Iterator[Finding]:
        waiting = invalidation.backlog()
        if not waiting.count or waiting.age < LATE:
            yield ok(f"{counted(waiting.count, 'invalidation')} waiting" if waiting.count else "none")
            return
        problem, app = error if waiting.age >= VERY_LATE else warning, project.broker().app
        yield problem(
            f"{counted(waiting.count, 'invalidation')} waiting, the oldest for "
            f"{duration(waiting.age.total_seconds())}.",
            why="Readers may see values from before these changes. The cache could not take them, or nobody "
            "looks for them.",
            fix=f"celery -A {app} worker\nor 'manage.py warm_listen' applies them within a second once the "
            "cache answers; see reachability, writes and workers.",
        )


def _judge(spec: JobSpec, timing: Any) -> Iterator[Finding]:
    life = (spec.timeout - spec.jitter).total_seconds()
    if timing is not None and not timing.enabled:
        yield info(
            f"{spec.name} is switched off in the schedule.",
            why="Its keys go cold when they expire, and are then loaded by readers.",
            fix="/admin/warmer/\nwhere it can be resumed.",
        )
        return
    gaps = timing.gaps if timing is not None else None
    if timing is not None and gaps is None:
        return  # by the sun, or once at a date
    every = spec.every.total_seconds() if spec.every is not None else 0.0
    shortest = gaps.shortest.total_seconds() if gaps is not None else every
    longest = gaps.longest.total_seconds() if gaps is not None else every
    said = timing.text if timing is not None else f"every {duration(longest)}"
    seen = f"{spec.name} is refreshed {said}, and its keys live {duration(life)}."
    fix = (
        f"timeout=timedelta(seconds={round(3 * shortest)})\nin the declaration of {spec.name} "
        f"({spec.declared_at}); or a shorter interval in the schedule."
    )
    if life <= shortest:
        yield error(
            seen,
            why="The keys are gone before they are refreshed: readers find them cold each time.",
            fix=fix,
        )
    elif life <= longest:
        yield info(
            seen,
            why=f"Up to {duration(longest)} lie between two refreshes: meanwhile readers load the keys.",
            fix="/admin/warmer/\nwhere the schedule of the job can name more times, if that is not meant so.",
        )
    elif spec.refresh_below is not None and spec.refresh_below * life < longest:
        yield warning(
            f"{spec.name} is refreshed {said}, and keys that live {duration(spec.refresh_below * life)} yet "
            "are left alone.",
            why="They expire before the next refresh, and readers find them cold.",
            fix=f"refresh_below={min(0.99, math.ceil(100 * longest / life) / 100):g}\nin the declaration of "
            f"{spec.name} ({spec.declared_at}), at least; or a shorter interval in the schedule.",
        )
    elif life < 2 * longest:
        yield warning(seen, why="One refresh that is missed or late, and all its keys are cold.", fix=fix)
