"""Celery: its workers and queues, what they take, and beat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from warmer.doctor.broker import IN_PROCESS
from warmer.doctor.check import ProjectCheck
from warmer.doctor.finding import Finding, NotApplicable, error, info, ok, warning
from warmer.doctor.project import Project
from warmer.humanize import counted, duration

# More batches than a full warm of a large site sends out.
LONG_QUEUE = 500
# Beat writes down what it sent every 3 minutes only, and our entries are due every 15 s.
BEAT_SILENCE = timedelta(minutes=5)


@dataclass(frozen=True)
class Workers(ProjectCheck):
    """A worker consumes each queue of the jobs."""

    id = "workers"
    subject = "workers"
    after = ("broker",)

    def look(self, project: Project) -> Iterator[Finding]:
        if project.broker().in_process:
            raise NotApplicable(IN_PROCESS)
        for queue in project.queues():
            if queue.workers:
                yield ok(f"queue {queue.name!r}: {', '.join(queue.workers)}")
            else:
                yield error(
                    f"Queue {queue.name!r}: {queue.problem}.",
                    why="Runs of its jobs wait, then expire: nothing is refreshed, and keys go cold.",
                    fix=f"celery -A {project.broker().app} worker -Q {queue.name}\nand look why the one "
                    "that was there has ended. One that is busy with a single long task (--pool solo) "
                    "answers late: ask again.",
                )


@dataclass(frozen=True)
class QueueLength(ProjectCheck):
    """Messages do not pile up."""

    id = "queue-length"
    subject = "workers"
    after = ("broker",)

    def look(self, project: Project) -> Iterator[Finding]:
        if project.broker().in_process:
            raise NotApplicable(IN_PROCESS)
        for queue in project.queues():
            if queue.length is None:
                raise NotApplicable("the broker does not tell")
            if queue.length >= LONG_QUEUE:
                yield warning(
                    f"Queue {queue.name!r}: {counted(queue.length, 'message')} waiting.",
                    why="Runs begin late: values are older than the interval says, and keys may expire "
                    "first.",
                    fix=f"celery -A {project.broker().app} worker -Q {queue.name} --concurrency 8\nmore "
                    "workers for it; or a longer every= and a larger batch_size= in the jobs.",
                )
            elif queue.length:
                yield ok(f"queue {queue.name!r}: {counted(queue.length, 'message')} waiting")
            else:
                yield ok(f"queue {queue.name!r} is empty")


@dataclass(frozen=True)
class BeatAlive(ProjectCheck):
    """Beat sends what is due."""

    id = "beat"
    subject = "beat"
    after = ("database",)

    def look(self, project: Project) -> Iterator[Finding]:
        if project.broker().in_process:
            raise NotApplicable(IN_PROCESS)
        if project.beat is None:
            scheduled = [spec.name for spec in project.specs if spec.every is not None]
            if not scheduled:
                raise NotApplicable("no job is scheduled, and django_celery_beat is not installed")
            yield error(
                f"Nothing refreshes {', '.join(scheduled)}: django_celery_beat is not installed.",
                why="Keys expire and go cold, though the jobs say every=.",
                fix='pip install django-celery-beat\nand INSTALLED_APPS += ["django_celery_beat"], then '
                f"'manage.py migrate' and 'celery -A {project.broker().app} beat'.",
            )
            return
        beat = project.beat()
        if beat.upkeep_enabled < beat.upkeep_wanted:
            yield warning(
                f"{beat.upkeep_wanted - beat.upkeep_enabled} of {beat.upkeep_wanted} entries of warmer's "
                "own upkeep are missing or switched off.",
                why="Lost runs are not closed, and invalidations that the cache could not take wait.",
                fix="manage.py warm_schedule\nmakes those that are missing; switch the others on in the "
                "admin, under periodic tasks.",
            )
        now = project.now()
        if beat.last_sent is None and beat.entries_since and now - beat.entries_since <= BEAT_SILENCE:
            age = max((now - beat.entries_since).total_seconds(), 0)
            yield info(
                f"Nothing is known of beat yet: it has had something to send for {duration(age)}.",
                why="It notes every 3 minutes what it sent; an observation, which it has made each minute, "
                "is seen sooner.",
                fix="Ask again in 5 minutes.",
            )
            return
        silence = now - beat.last_sent if beat.last_sent else None
        yield _last_seen(silence, app=project.broker().app)


@dataclass(frozen=True)
class CeleryPickle(ProjectCheck):
    """Workers take no pickles."""

    id = "celery-pickle"
    subject = "workers"

    def look(self, project: Project) -> Iterator[Finding]:
        accepted = project.broker().accepts
        unsafe = sorted({"pickle", "yaml", "application/x-python-serialize"} & set(accepted))
        if unsafe:
            yield error(
                f"Celery accepts {' and '.join(unsafe)}.",
                why="Whoever can write to the broker runs code in every worker.",
                fix='CELERY_ACCEPT_CONTENT = ["json"]\nthe warming tasks need nothing else.',
            )
        else:
            yield ok(f"Celery accepts {', '.join(accepted)} only")


def _last_seen(silence: timedelta | None, *, app: str) -> Finding:
    why = "Nothing is refreshed on schedule: keys expire and go cold."
    fix = (
        f"celery -A {app} beat\nwith CELERY_BEAT_SCHEDULER = "
        '"django_celery_beat.schedulers:DatabaseScheduler". It runs once, beside the workers, and notes '
        "every 3 minutes what it sent: after its first start, ask again then."
    )
    if silence is None:
        return error("Beat has never sent anything.", why=why, fix=fix)
    if silence > BEAT_SILENCE:
        return error(f"Beat last sent something {duration(silence.total_seconds())} ago.", why=why, fix=fix)
    return ok(f"last seen {duration(max(silence.total_seconds(), 0))} ago")
