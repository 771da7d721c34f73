"""Celery: its broker, its workers and queues, and beat."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Max, Min
from django.utils import timezone

from warmer import tasks
from warmer.doctor.check import Finding, cache_check, error, ok, project_check, warning
from warmer.doctor.checks.connection import fix_for
from warmer.doctor.project import Cache, NotApplicable, Project
from warmer.humanize import ago, counted, duration
from warmer.models import BEAT_SILENCE, BeatProcess, Trigger, WarmingRun

LOST = "When memory runs short, queues are evicted: runs are lost without a trace."
COLD = "Nothing is refreshed: keys expire and go cold."
# More messages than a full warm of a large site sends.
LONG_QUEUE = 500


@project_check()
def broker(project: Project) -> Iterator[Finding]:
    """Celery's broker answers."""
    broker = project.broker
    if unread := tasks.unread_setting():
        severity = warning if tasks.has_broker() else error
        message = f"No Celery app reads {unread}: tasks go to {broker.address}."
        why = "Nothing uses the broker that this setting names."
        yield severity(message, why=why, fix=f"{tasks.NAMESPACE} Remove the setting that is not used.")
        if severity is error:
            return
    if broker.problem:
        fix = "CELERY_BROKER_URL=redis://:PASSWORD@HOST:PORT/0\nmust lead to a server that is up. Celery "
        fix += "itself reads this variable of the environment, before the settings."
        fix = fix_for(broker.problem, broker.place, "CELERY_BROKER_URL") if broker.place else fix
        yield error(f"{broker.problem}.", why=COLD, fix=fix)
    elif broker.in_process and not settings.DEBUG:
        message = "CELERY_TASK_ALWAYS_EAGER is on: tasks run in the process that sends them."
        why = "A request that changes a row waits for the warm, and nothing runs on schedule."
        fix = "CELERY_TASK_ALWAYS_EAGER = False\nwith CELERY_BROKER_URL set to a broker."
        yield warning(message, why=why, fix=fix)
    else:
        yield ok("tasks run in process, as usual in development" if broker.in_process else broker.address)


@cache_check()
def broker_apart(cache: Cache) -> Iterator[Finding]:
    """The cache and the broker are two servers."""
    server, project = cache.redis, cache.project
    project.require_broker()
    if project.broker.problem:
        raise NotApplicable("the broker does not answer")
    broker, place = project.broker.server, server.place
    if broker is None or broker.info["run_id"] != server.info["run_id"]:
        return
    policy = server.info["maxmemory_policy"]
    message = f"The cache and the broker are one server, {place.text} ({policy})."
    fix = "CELERY_BROKER_URL=redis://:PASSWORD@BROKER-HOST:6379/0\nUse a second server, with noeviction."
    if broker.place.database == place.database:
        message = f"The cache and the broker share database {place.database} of {place.text}."
        why = "cache.clear() empties the database, including the queues with every waiting run."
        yield error(message, why=why, fix=f"{fix} At the very least use another database number.")
    elif _evicts_queues(server.info):
        yield error(message, why=LOST, fix=fix)
    else:
        yield warning(message, why="When the cache fills the memory, no task can be sent.", fix=fix)


@project_check(after=("broker",))
def broker_timeouts(project: Project) -> Iterator[Finding]:
    """Sending a task does not wait forever for a broker that hangs."""
    _ = project.redis
    if project.broker.timeout is not None:
        yield ok(f"a client waits {duration(project.broker.timeout)} for an answer")
        return
    message = "Celery's broker_transport_options have no socket_timeout."
    why = "When the server hangs, workers and pages that send tasks wait forever."
    fix = 'CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 5, "socket_connect_timeout": 2, ...}'
    yield warning(message, why=why, fix=fix)


@project_check(after=("broker",))
def broker_eviction(project: Project) -> Iterator[Finding]:
    """The broker evicts no messages."""
    server = project.redis
    if _evicts_queues(server.info):
        fix = server.place.config_set("maxmemory-policy", "noeviction")
        message = f"The broker's maxmemory-policy is {server.info['maxmemory_policy']}."
        yield error(message, why=LOST, fix=fix)


@project_check(after=("broker", "database"))
def workers(project: Project) -> Iterator[Finding]:
    """A worker consumes each queue of the jobs."""
    project.require_broker()
    for queue in tasks.queue_names(project.specs):
        found = tasks.find_workers(queue)
        message = f"Queue {queue!r}: {found.problem}"
        fix = f"celery -A {tasks.app_name()} worker -Q {queue}\nA worker that is busy with one "
        fix += "long task (--pool solo) answers late. Without remote control, and on SQS, none answers."
        if found.names:
            yield ok(f"queue {queue!r}: {', '.join(found.names)}")
        elif not found.may_work:
            yield error(f"{message}.", why=COLD, fix=found.advice)
        elif worked_at := _last_worked(project, queue):
            why = "Whether one runs now is not known. If none does, keys expire and go cold."
            yield warning(f"{message}, but one worked {ago(worked_at)}.", why=why, fix=fix)
        else:
            yield error(f"{message}.", why=COLD, fix=fix)


@project_check(after=("broker",))
def queue_length(project: Project) -> Iterator[Finding]:
    """Messages do not pile up."""
    project.require_broker()
    lengths = tasks.queue_lengths(tasks.queue_names(project.specs))
    for queue in tasks.queue_names(project.specs):
        if queue not in lengths:
            raise NotApplicable(f"unknown: the broker does not report the length of {queue!r}")
        message = f"queue {queue!r}: {counted(lengths[queue], 'message')} waiting"
        if lengths[queue] < LONG_QUEUE:
            yield ok(message)
            continue
        why = "Runs start late: values are older than their interval, and keys may expire first."
        fix = f"celery -A {tasks.app_name()} worker -Q {queue} --concurrency 8\nAdd workers, or "
        fix += "set a longer every= and a larger batch_size= in the jobs."
        yield warning(f"{message.capitalize()}.", why=why, fix=fix)


@project_check(after=("database",))
def beat(project: Project) -> Iterator[Finding]:
    """Beat sends due tasks."""
    project.require_broker()
    scheduled = [spec.name for spec in project.specs if spec.every is not None]
    if (schedule := project.schedule) is None:
        if not scheduled:
            raise NotApplicable("no job is scheduled, and django_celery_beat is not installed")
        yield without_beat(scheduled)
        return
    own, wanted, entries = schedule.upkeep(), len(schedule.UPKEEP), schedule.entries()
    lacks = [name for name in scheduled if name not in entries]
    if missing := wanted - own.count():
        lacks.append(f"{missing} of {wanted} tasks of warmer's own")
    if lacks:
        message = f"Beat's schedule lacks {', '.join(lacks)}."
        why = "Jobs are not refreshed, lost runs not closed, or pending invalidations not applied."
        fix = "manage.py warm_schedule\nadds what is missing. Enable the others in the admin."
        yield warning(message, why=why, fix=fix)
    if beats := BeatProcess.objects.at_once():
        message = f"{len(beats)} beats run at the same time: {', '.join(beats)}."
        why = "Each sends everything that is due: the project's own tasks run several times."
        fix = f"celery -A {tasks.app_name()} beat\nOnce: stop the others, by the process ids and hosts "
        fix += "in their names. A worker with -B is a beat, too."
        yield warning(message, why=why, fix=fix)
    sent, recent = schedule.beat_seen_at(), timezone.now() - BEAT_SILENCE
    # An entry has no creation time, but is unlikely to be changed before beat has sent it.
    since = own.aggregate(first=Min("date_changed"))["first"]
    if sent and sent >= recent:
        yield ok(f"last active {ago(sent)}")
    elif not sent and since and since >= recent:
        yield ok(f"not known yet: its tasks were created {ago(since)}, and it reports every 3 minutes")
    else:
        fix = f"celery -A {tasks.app_name()} beat\nRun one, beside the workers, with CELERY_BEAT_SCHEDULER = "
        fix += '"django_celery_beat.schedulers:DatabaseScheduler". It saves what it sent every 3 minutes.'
        message = f"Beat last sent something {ago(sent)}." if sent else "Beat has never sent anything."
        yield error(message, why=COLD, fix=fix)


def _evicts_queues(info: Mapping[str, Any]) -> bool:
    """Return whether a server that holds queues evicts them when its memory is full."""
    return bool(info["maxmemory"]) and str(info["maxmemory_policy"]).startswith("allkeys-")


def _last_worked(project: Project, queue: str) -> datetime | None:
    """Return when a worker last worked on a job of a queue; None if that is longer ago than its interval."""
    specs = [spec for spec in project.specs if spec.queue == queue]
    runs = WarmingRun.objects.filter(job__in=[spec.name for spec in specs]).exclude(worker="")
    runs = runs.exclude(trigger__in=(Trigger.COMMAND, Trigger.DEPLOY))  # they may have run in process
    last: datetime | None = runs.aggregate(last=Max("heartbeat_at"))["last"]
    longest = max((spec.every for spec in specs if spec.every), default=BEAT_SILENCE)
    return last if last and timezone.now() - last <= longest + BEAT_SILENCE else None


def without_beat(scheduled: Sequence[str]) -> Finding:
    """Return the finding that nothing sends the scheduled jobs of these names; also a system check."""
    fix = 'pip install "warmer[beat]"\nand INSTALLED_APPS += ["django_celery_beat"], then '
    fix += "'manage.py migrate', and start beat. Or declare the jobs with every=None."
    message = f"Nothing refreshes {', '.join(scheduled)}: django_celery_beat is not installed."
    return error(message, why=COLD, fix=fix, check="warmer.W003")
