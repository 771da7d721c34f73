"""What beat sends: scheduled runs, and upkeep: closing stalled runs, deleting old ones, audits."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Task, shared_task
from celery.signals import task_postrun, worker_process_shutdown
from celery.utils.time import maybe_iso8601, maybe_make_aware
from django.utils import timezone

from warmer import runs
from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable, UnknownJob
from warmer.filling import read_counters
from warmer.models import BeatProcess, CacheAudit, JobHour, State, Trigger, WarmingRun
from warmer.monitoring import audit, observation
from warmer.report import describe
from warmer.tasks import broker
from warmer.tasks.runs import INTERRUPTS, PATIENT, request_run

logger = logging.getLogger(__name__)

# While several beats run, none warms a job whose last scheduled run is younger than this share of its
# interval. Below one, as messages may be some time in the queue.
SHARE_OF_INTERVAL = 0.9
# Less than the schedule's minute, so that observations do not pile up.
OBSERVING_SECONDS = 45
# The sample of a requested audit. If all of it is right, so are at least 99.4 % of all keys.
ASKED_SAMPLE = 500


task_postrun.connect(read_counters.flush_if_due, dispatch_uid="warmer.read_counters")
# A worker's process exits without calling the functions registered with `atexit`.
worker_process_shutdown.connect(read_counters.flush, dispatch_uid="warmer.read_counters")


@shared_task(name="warmer.scheduled_run", bind=True, **PATIENT)
def scheduled_run(self: Task, job: str) -> None:
    """Request a scheduled run; beat sends this when a job is due.

    If several beats run, the first message within an interval counts, whichever beat sent it.
    """
    try:
        spec = jobs[job].spec
    except UnknownJob as error:  # during a rollout
        logger.warning("A scheduled run was skipped: %s (do the worker and beat run the same code?)", error)
        return
    beats = BeatProcess.objects.at_once()
    expires_in = _until_due_again(self, spec)
    since = timezone.now() - (expires_in or timedelta()) * SHARE_OF_INTERVAL
    is_warmed = WarmingRun.objects.filter(job=job, trigger=Trigger.SCHEDULE, requested_at__gt=since)
    if self.request.origin in beats and is_warmed.exists():
        logger.warning("%s is not warmed twice: %d beats run, %s", job, len(beats), ", ".join(beats))
        return
    opened = request_run(job, Trigger.SCHEDULE, expires_in=expires_in)
    if opened.joined:
        logger.info("%s is due, but %s has not ended: skipped", job, opened.run)


def _until_due_again(task: Task, spec: JobSpec) -> timedelta | None:
    """Return how long a message of beat is useful; beat sets this from the operator's interval."""
    if not task.request.expires:
        return spec.every
    # Not `timezone.now()`, which is naive with USE_TZ off, when Celery's times are in UTC.
    left: timedelta = maybe_make_aware(maybe_iso8601(task.request.expires)) - datetime.now(UTC)
    return max(left, timedelta(seconds=1))


@shared_task(name="warmer.close_stalled_runs", **PATIENT)
def close_stalled_runs() -> int:
    """End the runs whose workers or messages are gone; return how many.

    Required jobs whose last run failed in an outage of the cache are run again once it answers.
    """
    closed = runs.close_stalled()
    required = {spec.name: spec for spec in jobs.specs() if spec.required}
    # A retry of some keys warms no others, and a run that never started warmed none.
    full = WarmingRun.objects.filter(only_keys__isnull=True).exclude(started_at=None, active_job=None)
    for run in full.latest_per_job(required).values():
        has_failed = run.is_final and run.state != State.CANCELLED
        if has_failed and run.met_outage and _answers(required[run.job]):
            logger.info("%s failed in an outage that is over: running %s again", run, run.job)
            request_run(run.job, Trigger(run.trigger), only_missing=True)
    return closed


def _answers(spec: JobSpec) -> bool:
    try:
        spec.store.token(())  # not a ping, which a server may answer while it rejects scripts
    except StoreUnavailable:
        return False
    return True


@shared_task(name="warmer.observe_jobs", bind=True, **PATIENT)
def observe_jobs(self: Task) -> int:
    """Observe every job, as far as time allows; return how many. Record which beat sent the task."""
    if self.request.origin and not self.request.retries:
        BeatProcess.objects.note(self.request.origin)
    observed = observation.observe_all(seconds=OBSERVING_SECONDS, interrupts=INTERRUPTS)
    CacheAudit.objects.note_repairs(jobs)
    return observed


@shared_task(name="warmer.forget_runs", **PATIENT)
def forget_runs() -> int:
    """Delete the runs and audits that ended longer ago than `WARMER_RUN_RETENTION`; return how many runs.

    The newest of each job are kept regardless of their age. Hours of the jobs' history are deleted after
    `HOURS_KEPT`.
    """
    before = timezone.now() - conf.RUN_RETENTION
    JobHour.objects.forget()
    CacheAudit.objects.forget(before=before, newest_of=jobs)
    return WarmingRun.objects.forget(before=before, newest_of=jobs)


@shared_task(name="warmer.audit_sample", **PATIENT)
def audit_sample() -> None:
    """Request an audit of a sample of each job; beat sends this while `WARMER_AUDIT_SAMPLE` is set."""
    for spec in jobs.specs():
        request_audit(spec, Trigger.SCHEDULE)


@shared_task(name="warmer.audit_job", **PATIENT)
def audit_job(job: str, trigger: str = Trigger.ADMIN, repair: bool = False) -> None:
    """Audit a sample of a job, or audit all of it and invalidate the wrong keys; keep and log the result."""
    sample = None if repair else conf.AUDIT_SAMPLE if conf.AUDIT_SAMPLE > 0 else ASKED_SAMPLE
    options: dict[str, Any] = {"sample": sample, "repair": repair, "interrupts": INTERRUPTS}
    try:
        found = audit.perform(jobs[job].spec, Trigger(trigger), **options)
    except StoreUnavailable as error:
        logger.warning("%s was not audited: %s", job, describe(error))
        return
    if not found.ok:
        keys = ", ".join(f"{each['key']} {' '.join(each['fields'])}" for each in found.wrong_keys)
        text = "%s: %d wrong and %d failed of %d sampled keys: %s"
        logger.error(text, job, found.wrong, found.failed, found.sampled, found.error or keys)


def request_audit(spec: JobSpec, trigger: Trigger = Trigger.ADMIN, *, repair: bool = False) -> None:
    """Request an audit of a job from a worker.

    Args:
        repair: audit every key instead of a sample, and invalidate those that are wrong.

    Raises:
        BrokerUnavailable: the broker does not answer, or Celery cannot send the message.
    """
    expires = conf.RUN_EXPIRY.total_seconds()
    broker.send(audit_job, (spec.name, trigger, repair), queue=spec.queue, expires=expires)
