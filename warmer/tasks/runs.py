"""Runs: `request_run`, which every trigger calls, and the tasks that execute them on workers."""

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, islice
from typing import Any

from celery import Task, shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.db import InterfaceError, InternalError, OperationalError, router, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError

from warmer import runs
from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable, UnknownJob
from warmer.models import State, Trigger, WarmingRun
from warmer.monitoring.observation import observe
from warmer.report import describe
from warmer.runs import Opened, batch_queue, execution
from warmer.stores import difference
from warmer.tasks import broker
from warmer.tasks.broker import BrokerUnavailable

logger = logging.getLogger(__name__)

# If a database or a cache is down, retry after 1 s, then 2, 4, up to 30, until the message expires or the run
# is lost. PostgreSQL raises InternalError while it is read-only, e.g. during a failover.
DATABASE_AWAY = (OperationalError, InterfaceError, InternalError)
AWAY = (StoreUnavailable, *DATABASE_AWAY)
PATIENT: dict[str, Any] = {
    "autoretry_for": AWAY,
    "max_retries": None,
    "retry_backoff": True,
    "retry_backoff_max": 30,
    "retry_jitter": False,
    "acks_late": True,
    "ignore_result": True,
}
INTERRUPTS = (SoftTimeLimitExceeded,)
# Priorities in Redis: the lowest is served first. Messages without one, such as those of upkeep, have 0.
# RabbitMQ ignores priorities, except in queues declared with `x-max-priority`.
RUNS, BATCHES = 3, 6
# A task processes batches for about this long before it sends a message for the rest, which costs about 2 ms.
TASK_SECONDS = 0.1
# How long it continues if the broker takes no message: Celery takes about 0.4 s to give up.
AGAIN_SECONDS = 2.0
# Batches that are read together, and counted together if they are quick.
MOST_BATCHES = 16
# How long a run after a change waits for further changes.
REFRESH_DELAY = timedelta(seconds=2)


def request_run(
    job: str,
    trigger: Trigger,
    *,
    user: Any = None,
    only_missing: bool = False,
    only_keys: Sequence[str] | None = None,
    expires_in: timedelta | None = None,
    delay: timedelta = timedelta(0),
) -> Opened:
    """Request a run of a job on the workers, at the commit of the current transaction.

    Every trigger goes through here. A job has one run at a time, so a second request joins the active run.
    With `CELERY_TASK_ALWAYS_EAGER` the run is executed here and now.

    Args:
        job: the job's name.
        trigger: what requests the run.
        user: who requests it, if known.
        only_missing: skip keys that are cached.
        only_keys: load only these keys.
        expires_in: how long the request is useful; default `WARMER_RUN_EXPIRY`.
        delay: how long a worker waits before it begins.

    Returns:
        The run, and whether it was already active. Outside of a transaction, if the broker does not answer,
        the run has failed and its error says why.

    Raises:
        UnknownJob: no job of that name is declared.
    """
    spec = jobs[job].spec
    opened = runs.open_run(
        job, trigger, user=user, only_missing=only_missing, only_keys=only_keys, expires_in=expires_in
    )
    if not opened.joined:
        transaction.on_commit(partial(_send, spec, opened.run, delay), using=router.db_for_write(WarmingRun))
        opened.run.refresh_from_db()
    return opened


def request_refresh(spec: JobSpec) -> None:
    """Request a run of a job's missing keys after a change; changes in quick succession share one.

    Requests nothing if the broker did not answer a moment ago, because each save would wait for it. The keys
    stay cold until they are read, or until the schedule warms them.
    """
    if broker.is_resting():
        logger.debug("%s is not refreshed: the broker gave no answer a moment ago", spec.name)
        return
    delay = REFRESH_DELAY + conf.REPLICA_LAG  # earlier, nothing would be written
    # Scheduled runs join it, so if its message is lost, it must not wait for much longer than the next one.
    life = spec.every and spec.every + delay
    while True:
        opened = request_run(spec.name, Trigger.CHANGE, only_missing=True, expires_in=life, delay=delay)
        # A queued run will see this change. A running one may be past it, so another follows. If it has just
        # ended, open a new one.
        if not opened.joined or opened.run.state == State.QUEUED or runs.request_follow_up(opened.run):
            return


def follow_up(run: WarmingRun) -> None:
    """Request the run that changes requested while another was running."""
    if run.follow_up and run.job in jobs:
        request_refresh(jobs[run.job].spec)


@shared_task(name="warmer.start_run", bind=True, **PATIENT)
def start_run(self: Task, run_id: int) -> None:
    """Find the ids of a run and send its batches to workers; execute a run of one batch right away."""
    started = runs.start(run_id, worker=_worker(self))
    if started is None:
        if WarmingRun.objects.filter(pk=run_id).exists():
            logger.info("Run %s has ended: its message is dropped", run_id)
        else:
            logger.warning("Run %s is not in this worker's database: do two projects share a broker?", run_id)
        return
    try:
        if (spec := _spec_here(self, started)) is not None:
            _execute(self, spec, started)
    except Exception as error:
        if isinstance(error, AWAY) and _may_wait(self, started.started_at):
            raise
        logger.exception("The run %s of %s failed", run_id, started.job)
        runs.fail(started, f"The ids could not be found: {describe(error)}")


# A time limit may interrupt it outside of the loader, too, e.g. while it records batches.
@shared_task(name="warmer.warm_batch", bind=True, **PATIENT | {"autoretry_for": (*AWAY, *INTERRUPTS)})
def warm_batch(self: Task, run_id: int, attempt: int, first: int, last: int) -> None:
    """Load, write and count the batches of a lane for a moment, then send a message for the rest.

    If the worker is killed, its message is redelivered. It names the whole rest of the lane, so the next
    worker skips counted batches and continues.
    """
    _warm_lane(self, run_id, attempt, first, last)


def _warm_lane(task: Task, run_id: int, attempt: int, first: int, last: int) -> None:
    """Process a lane, until it is time for a message for the rest and the broker takes it."""
    until = time.monotonic() + TASK_SECONDS
    while batches := batch_queue.take(run_id, attempt, first, last, at_most=MOST_BATCHES):
        run = batches[0].run
        if (spec := _spec_here(task, run)) is None:
            return
        keys = (spec.key.batch(batch_queue.ids_of(batch)) for batch in batches)
        may_wait = _may_wait(task, run.heartbeat_at)
        try:
            done = execution.warm_here(
                spec,
                run,
                keys,
                numbers=[batch.number for batch in batches],
                worker=_worker(task),
                deadline=until,
                interrupts=INTERRUPTS,
                raised=(StoreUnavailable,) if may_wait else (),
            )
        except DATABASE_AWAY as error:  # an error of our own tables
            if may_wait:
                raise
            runs.fail(run, f"Its progress could not be recorded: {describe(error)}")
            return
        if done.number == last:
            return
        first = max(first, done.number + 1)
        if time.monotonic() >= until:
            if _sent(spec, run, first, last):
                return
            until = time.monotonic() + AGAIN_SECONDS
    for run in WarmingRun.objects.active().filter(pk=run_id, attempt=attempt):
        runs.finish_if_done(run)  # the worker that counted the last batch may have been killed before
    logger.info("Batches %s to %s of run %s are no longer wanted: dropped", first, last, run_id)


def _send(spec: JobSpec, run: WarmingRun, delay: timedelta) -> None:
    try:
        broker.send(
            start_run,
            (run.pk,),
            queue=spec.queue,
            priority=RUNS,
            countdown=delay.total_seconds() or None,
            expires=(run.expires_at - timezone.now()).total_seconds(),
        )
    except BrokerUnavailable as error:
        logger.error("Could not send %s to a worker: %s", run, error)
        runs.fail(run, str(error))


def _execute(task: Task, spec: JobSpec, run: WarmingRun) -> None:
    batches = execution.batches_of(spec, run)
    head = list(islice(batches, 2))
    every = chain(head, batches)
    if len(head) < 2 or task.request.is_eager:  # not worth a message, or no worker to send one to
        raised = (StoreUnavailable,) if _may_wait(task, run.started_at) else ()
        done = execution.warm_here(
            spec, run, every, worker=_worker(task), interrupts=INTERRUPTS, raised=raised
        )
        runs.expect(run, batches=done.number, report=batches.report)
        return
    count = 0
    for count in batch_queue.write(run, every):  # noqa: B007 - the last one counts them all
        if not runs.beat(run):
            logger.info("%s has ended: its batches are not sent", run)
            return
    if not runs.expect(run, batches=count, report=batches.report):
        return
    for first, last in batch_queue.lanes(count, at_most=conf.BATCHES_OUT):
        if not _sent(spec, run, first, last):
            _warm_lane(task, run.pk, run.attempt, first, count)
            return


def _may_wait(task: Task, since: datetime | None) -> bool:
    """Return whether a task may be retried: for half of the time after which a run without progress is lost.

    That counts from the last progress or, for a run that is starting, from its first start.
    """
    is_early = since is None or timezone.now() < since + conf.STALL_TIMEOUT / 2
    return is_early and not task.request.is_eager


def _spec_here(task: Task, run: WarmingRun) -> JobSpec | None:
    """Return the job of a run; fail the run if this worker does not have it, or has another cache."""
    try:
        spec = jobs[run.job].spec
    except UnknownJob as error:
        runs.fail(run, f"{describe(error)} (do the worker and the web server run the same code?)")
        return None
    found = difference(run.cache, spec.cache, here="on the worker")
    if not found:
        return spec
    runs.fail(run, f"Worker {_worker(task)} and web use different caches: {found}.")
    observe(spec, interrupts=INTERRUPTS)  # so that the overview and the doctor show this worker's cache
    return None


def _sent(spec: JobSpec, run: WarmingRun, first: int, last: int) -> bool:
    """Send a message for a lane; return whether the broker took it."""
    arguments, expires = (run.pk, run.attempt, first, last), conf.RUN_EXPIRY.total_seconds()
    try:
        warm_batch.apply_async(arguments, queue=spec.queue, priority=BATCHES, expires=expires)
    except (BrokerError, OSError, *broker.bounded().channel_errors) as error:  # of a channel: e.g. it is full
        logger.info("%s continues here, as the broker takes no message: %s", run, describe(error))
        return False
    return True


def _worker(task: Task) -> str:
    return task.request.hostname or ""
