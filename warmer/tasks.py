"""The Celery side: `request_run`, the one door for every trigger, and the tasks behind it."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import chain, islice
from typing import Any

from celery import Task, current_app, shared_task
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import task_postrun, worker_process_shutdown, worker_ready
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError

from warmer import auditing, bypass, execution, invalidation, ledger, outbox, runner, spool, traffic
from warmer.batching import Batches
from warmer.conf import conf
from warmer.exceptions import StoreUnavailable, UnknownJob
from warmer.ledger import Opened
from warmer.models import Trigger, WarmingBatch, WarmingRun
from warmer.monitoring import observation
from warmer.monitoring.facts import Broker, Queue
from warmer.registry import jobs
from warmer.report import describe
from warmer.spec import JobSpec

logger = logging.getLogger(__name__)

# A database that is away for a moment costs a wait, not a batch.
_PATIENT: dict[str, Any] = {
    "autoretry_for": (OperationalError, InterfaceError),
    "max_retries": 5,
    "retry_backoff": True,
    "retry_backoff_max": 30,
    "acks_late": True,
    "ignore_result": True,
}
INTERRUPTS = (SoftTimeLimitExceeded,)
# A task that has taken less than this goes on with the next batch itself: a message costs about 2 ms.
TASK_SECONDS = 0.1
# A message that waits longer is not needed: the schedule sends the next one by then.
PENDING_EXPIRY_SECONDS = 60
# Less than the schedule's minute, so that observations do not pile up.
OBSERVING_SECONDS = 45
# Of a job that no scheduled audit looks at: 99.4 % right at least, when all of them are.
ASKED_SAMPLE = 500
# Who asks how the broker is wants an answer soon.
BROKER_SECONDS = 3
_LOGIN = re.compile(r"//[^/]*@")
TOO_LONG = "It took longer than the soft time limit of a Celery task; make batch_size smaller."


def request_run(
    job: str,
    trigger: Trigger,
    *,
    user: Any = None,
    only_missing: bool = False,
    expires_in: timedelta | None = None,
    delay: timedelta = timedelta(0),
) -> Opened:
    """Have a job run on a worker, once the current transaction commits: the door for every trigger.

    A job has one run at a time: a second request joins the one that is under way, and the answer
    says so. With `CELERY_TASK_ALWAYS_EAGER` the run happens here and now.

    Args:
        job: the job's name.
        trigger: what asks.
        user: who asks, where that is known.
        only_missing: leave keys alone that are cached.
        expires_in: how long the request is useful; default `WARMER_RUN_EXPIRY`.
        delay: how long a worker waits before it begins.

    Returns:
        The run, and whether it is one that was under way. Without a transaction, and when the broker
        does not answer, the run has failed and says why.

    Raises:
        UnknownJob: no job of that name is declared.
    """
    spec = jobs[job].spec
    opened = ledger.open_run(job, trigger, user=user, only_missing=only_missing, expires_in=expires_in)
    if not opened.joined:
        transaction.on_commit(partial(_send, spec, opened.run, delay))
        opened.run.refresh_from_db()
    return opened


def request_refresh(spec: JobSpec) -> None:
    """Have a job's missing keys warmed again after a change; changes in quick succession share a run."""
    delay = conf.REFRESH_DELAY + conf.REPLICA_LAG  # before that, nothing would be written
    while True:
        opened = request_run(spec.name, Trigger.CHANGE, only_missing=True, delay=delay)
        # A queued run will see this change. A running one may be past it: another follows it. One that
        # ended meanwhile is no longer joined.
        if not opened.joined or opened.run.state == "queued" or ledger.request_follow_up(opened.run):
            return


def follow_up(run: WarmingRun) -> None:
    """Request the run that changes asked for while another ran."""
    if run.follow_up and run.job in jobs:
        request_refresh(jobs[run.job].spec)


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Which workers would take a job, or why none would."""

    names: tuple[str, ...] = ()
    problem: str = ""


def find_workers(queue: str, *, timeout: float = 1.0) -> Workers:
    """Ask for workers that consume a queue, waiting `timeout` seconds for their answers."""
    if current_app.conf.task_always_eager:
        return Workers(problem="no broker is configured: tasks run in process")
    try:
        answers = current_app.control.inspect(timeout=timeout).active_queues() or {}
    except (BrokerError, OSError) as error:
        return Workers(problem=f"the broker does not answer: {describe(error)}")
    names = tuple(name for name, queues in answers.items() if any(q["name"] == queue for q in queues))
    if names:
        return Workers(names=names)
    if answers:
        return Workers(problem=f"no worker consumes the queue {queue!r}")
    return Workers(problem="no worker answers")


def look_at_broker() -> Broker:
    """Ask the broker whether it serves; a Redis one also what its INFO says."""
    known: dict[str, Any] = {
        "app": current_app.main or "PROJECT",
        "accepts": tuple(current_app.conf.accept_content or ()),
    }
    if current_app.conf.task_always_eager:
        return Broker(**known, in_process=True)
    with _broker() as connection:
        known |= {
            "address": _LOGIN.sub("//", connection.as_uri()),
            "is_redis": connection.transport.driver_type == "redis",
            "database": str(connection.virtual_host or "").strip("/") or "0",
        }
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_SECONDS)
            info = _redis_info(connection) if known["is_redis"] else {}
        except (BrokerError, OSError, *connection.connection_errors) as error:
            return Broker(**known, problem=describe(error))
    return Broker(**known, info=info)


def look_at_queue(name: str) -> Queue:
    """Ask for the workers that consume a queue, and for how many messages wait there."""
    workers = find_workers(name)
    return Queue(name=name, workers=workers.names, problem=workers.problem, length=_queue_length(name))


def _queue_length(name: str) -> int | None:
    if current_app.conf.task_always_eager:
        return None
    with _broker() as connection:
        try:
            return int(connection.default_channel.queue_declare(queue=name, passive=True).message_count)
        except connection.channel_errors:
            return 0  # Redis has no list where nothing waits
        except (BrokerError, OSError, *connection.connection_errors):
            return None


def _broker() -> Any:
    """Return a connection to the broker, not yet connected, which does not wait long."""
    connection = current_app.connection_for_read()
    if connection.transport.driver_type != "redis":
        return connection
    waits = {"socket_timeout": BROKER_SECONDS, "socket_connect_timeout": BROKER_SECONDS}
    return current_app.connection_for_read(transport_options=waits)


def _redis_info(connection: Any) -> dict[str, Any]:
    """Return the server's INFO; nothing when it does not allow that to this user."""
    try:
        return dict(connection.default_channel.client.info())
    except connection.channel_errors:
        return {}


@shared_task(name="warmer.scheduled_run", **_PATIENT)
def scheduled_run(job: str) -> None:
    """What beat sends when a job is due."""
    spec = jobs[job].spec
    opened = request_run(job, Trigger.SCHEDULE, expires_in=spec.every)
    if opened.joined:
        logger.info("%s is due, but %s has not ended: nothing is added", job, opened.run)


@shared_task(name="warmer.start_run", bind=True, **_PATIENT)
def start_run(self: Task, run_id: int) -> None:
    """Find a run's ids and send for its first batches; a run of one batch is done at once."""
    started = ledger.start(run_id, worker=_worker(self))
    if started is None:
        logger.info("Run %s has ended: its message is dropped", run_id)
        return
    try:
        _execute(self, jobs[started.job].spec, started)
    except SoftTimeLimitExceeded:
        ledger.fail(started, TOO_LONG)
    except (OperationalError, InterfaceError):
        raise
    except UnknownJob as error:
        ledger.fail(started, f"{describe(error)} Is the worker's code that of the web server?")
    except (BrokerError, OSError) as error:
        ledger.fail(started, f"The broker does not answer: {describe(error)}")
    except Exception as error:
        logger.exception("The run %s of %s failed", run_id, started.job)
        ledger.fail(started, f"The ids could not be found: {describe(error)}")


@shared_task(name="warmer.warm_batch", bind=True, **_PATIENT)
def warm_batch(self: Task, run_id: int, attempt: int, number: int) -> None:
    """Load and write a batch of a run, count it, and go on with the next one or send for it."""
    began = time.monotonic()
    while True:
        batch = spool.take(run_id, attempt, number)
        if batch is None:
            logger.info("Batch %s of run %s is no longer wanted: dropped", number, run_id)
            return
        then = batch.successor if batch.recorded_at else _do_batch(self, batch)
        if then is None:
            return
        if time.monotonic() - began >= TASK_SECONDS:
            _send_batch(jobs[batch.run.job].spec, batch.run, then)
            return
        number = then


@shared_task(name="warmer.apply_pending", **_PATIENT)
def apply_pending() -> int:
    """Apply the invalidations that the outbox keeps; return how many rows were done."""
    try:
        return invalidation.apply_kept()
    except StoreUnavailable as error:
        waiting = outbox.backlog()
        logger.warning(
            "%d invalidations wait for the cache, the oldest for %d s: %s",
            waiting.count,
            waiting.age.total_seconds(),
            describe(error),
        )
        return 0


def request_pending() -> None:
    """Have a worker apply what the outbox keeps, now; without one the schedule does it later."""
    try:
        apply_pending.apply_async(queue=conf.QUEUE, expires=PENDING_EXPIRY_SECONDS)
    except (BrokerError, OSError) as error:
        logger.warning("Pending invalidations wait for the schedule: %s", describe(error))


@worker_ready.connect(dispatch_uid="warmer.worker_ready")
def _catch_up(**_kwargs: Any) -> None:
    """See to what was left over while no worker ran."""
    request_pending()


@task_postrun.connect(dispatch_uid="warmer.bypass")
def _judge_writes(task: Any, **_kwargs: Any) -> None:
    """Judge what a task of the project's wrote past the signals; in process, its caller goes on."""
    if not task.request.is_eager:
        bypass.check()


@task_postrun.connect(dispatch_uid="warmer.traffic")
def _flush_traffic(**_kwargs: Any) -> None:
    traffic.flush_if_due()


@worker_process_shutdown.connect(dispatch_uid="warmer.traffic")
def _tell_traffic(**_kwargs: Any) -> None:
    """Tell what is left: a worker's process ends without what `atexit` would call."""
    traffic.flush()


@shared_task(name="warmer.close_stalled_runs", **_PATIENT)
def close_stalled_runs() -> int:
    """End the runs whose workers or messages are gone; return how many there were."""
    return ledger.close_stalled()


@shared_task(name="warmer.observe_jobs", **_PATIENT)
def observe_jobs() -> int:
    """Observe every job, as far as the time allows; return how many were."""
    return observation.observe_all(seconds=OBSERVING_SECONDS)


@shared_task(name="warmer.forget_runs", **_PATIENT)
def forget_runs() -> int:
    """Delete the runs that ended longer ago than `WARMER_RUN_RETENTION`; return how many.

    The newest run of each job is kept, however old it is.
    """
    return ledger.forget(before=timezone.now() - conf.RUN_RETENTION, newest_of=jobs)


@shared_task(name="warmer.audit_sample", **_PATIENT)
def audit_sample(job: str | None = None) -> None:
    """Audit a small sample of a job and keep the result; without a name, have every job audited."""
    if conf.AUDIT_SAMPLE <= 0:
        return  # a message of before it was turned off
    if job is None:
        for spec in jobs.specs():
            _send_audit(spec)
        return
    try:
        found = auditing.perform(
            jobs[job].spec, Trigger.SCHEDULE, sample=conf.AUDIT_SAMPLE, interrupts=INTERRUPTS
        )
    except StoreUnavailable as error:
        logger.warning("%s was not audited: %s", job, describe(error))
        return
    if not found.ok:
        shown = ", ".join(f"{each.key} {' '.join(each.fields)}" for each in found.wrong_keys)
        logger.error(
            "%s: of %d sampled keys %d are wrong and %d failed%s%s",
            job,
            found.sampled,
            found.wrong,
            found.failed,
            f": {shown}" if shown else "",
            f": {found.error}" if found.error else "",
        )


@shared_task(name="warmer.audit_job", **_PATIENT)
def audit_job(job: str) -> None:
    """Audit a sample of a job, as somebody asked for."""
    sample = conf.AUDIT_SAMPLE if conf.AUDIT_SAMPLE > 0 else ASKED_SAMPLE
    auditing.perform(jobs[job].spec, Trigger.ADMIN, sample=sample, interrupts=INTERRUPTS)


def request_audit(spec: JobSpec) -> str:
    """Have a worker audit a sample of a job; return why that is not possible, or nothing."""
    try:
        audit_job.apply_async((spec.name,), queue=spec.queue, expires=conf.RUN_EXPIRY.total_seconds())
    except (BrokerError, OSError) as error:
        return f"The broker does not answer: {describe(error)}"
    except StoreUnavailable as error:  # tasks run in process
        return describe(error)
    return ""


def _send(spec: JobSpec, run: WarmingRun, delay: timedelta) -> None:
    try:
        start_run.apply_async(
            (run.pk,),
            queue=spec.queue,
            countdown=delay.total_seconds() or None,
            expires=run.expires_at,
        )
    except (BrokerError, OSError) as error:
        logger.error("Could not send %s to a worker: %s", run, describe(error))
        ledger.fail(run, f"The broker does not answer: {describe(error)}")


def _execute(task: Task, spec: JobSpec, run: WarmingRun) -> None:
    batches = Batches(spec)
    first = list(islice(batches, 2))
    every = chain(first, batches)
    if len(first) < 2 or task.request.is_eager:  # not worth a message, or nobody to send one to
        wanted = execution.Wanted(run, every)
        count = execution.warm_here(spec, run, wanted, worker=_worker(task), interrupts=INTERRUPTS)
        if not wanted.is_cancelled:
            ledger.expect(run, batches=count, report=batches.report)
        return
    count = 0
    for written in spool.write_down(run, every):
        count = written
        if not ledger.beat(run):
            logger.info("%s has ended: its batches are not sent", run)
            return
    sent = min(count, conf.BATCHES_OUT)
    if ledger.expect(run, batches=count, report=batches.report, sent=sent):
        for number in range(1, sent + 1):
            _send_batch(spec, run, number)


def _do_batch(task: Task, batch: WarmingBatch) -> int | None:
    """Load, write and count a batch; return the number of the one that is next."""
    spec = jobs[batch.run.job].spec
    keys = spec.key.batch(spool.ids_of(batch))
    keep = execution.keep_seconds(spec, batch.run)
    report = runner.warm_batch(spec, keys, keep_seconds=keep, interrupts=INTERRUPTS)
    return ledger.record_batch(batch.run, batch.number, report, worker=_worker(task)).then


def _send_batch(spec: JobSpec, run: WarmingRun, number: int) -> None:
    warm_batch.apply_async(
        (run.pk, run.attempt, number),
        queue=spec.queue,
        expires=conf.RUN_EXPIRY.total_seconds(),
    )


def _send_audit(spec: JobSpec) -> None:
    try:
        audit_sample.apply_async((spec.name,), queue=spec.queue, expires=conf.AUDIT_EVERY.total_seconds())
    except (BrokerError, OSError) as error:
        logger.warning("%s waits for the next audit: %s", spec.name, describe(error))


def _worker(task: Task) -> str:
    return task.request.hostname or ""
