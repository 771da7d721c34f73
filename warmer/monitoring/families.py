"""Every metric: its name, help text and labels, and its values in a snapshot."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from warmer.models import ACTIVE, State, Verdict
from warmer.monitoring.snapshot import Snapshot
from warmer.report import Outcome

# Outcomes of keys loaded by readers.
READER_OUTCOMES = (Outcome.WRITTEN, Outcome.NO_VALUE, Outcome.SUPERSEDED, Outcome.FAILED)


@dataclass(frozen=True)
class Family:
    """A metric.

    Attributes:
        kind: `counter`, `gauge` or `summary`.
        name: without the `_total` of a counter.
        help: its meaning, in a sentence.
        labels: the names of its labels.
    """

    kind: str
    name: str
    help: str
    labels: tuple[str, ...] = ("job",)


gauge, counter, summary = (partial(Family, kind) for kind in ("gauge", "counter", "summary"))

FAMILIES = (
    # Jobs
    gauge("warmer_job_required", "Whether the deploy fails when the job does: 1 or 0."),
    gauge(
        "warmer_job_interval_seconds",
        "The declared interval between refreshes of the job; 0: it is not scheduled.",
    ),
    gauge("warmer_job_timeout_seconds", "How long a key of the job lives."),
    # Ended runs
    counter("warmer_runs", "Runs that ended.", ("job", "trigger", "state")),
    counter(
        "warmer_run_keys",
        "Keys of ended runs, by outcome. Superseded: invalidations overtook the write.",
        ("job", "outcome"),
    ),
    summary("warmer_run_duration_seconds", "How long runs took, from their start to their end."),
    summary("warmer_run_wait_seconds", "How long runs waited in their queue, from the request to the start."),
    counter("warmer_run_work_seconds", "Seconds of work of ended runs, summed over the workers."),
    counter("warmer_run_queries", "Database queries of ended runs."),
    counter("warmer_run_batches", "Batches of ended runs."),
    # The last run of each job, and the active ones
    gauge(
        "warmer_last_run_state",
        "1 for the state in which the job's last run ended, 0 for the others.",
        ("job", "state"),
    ),
    gauge("warmer_last_run_timestamp_seconds", "When the job's last run ended."),
    gauge("warmer_last_success_timestamp_seconds", "When a run of the job was last complete; 0: never."),
    gauge("warmer_active_runs", "Runs that have not ended, by state.", ("job", "state")),
    gauge(
        "warmer_queue_wait_seconds",
        "How long the job's run has been waiting for a worker; 0: none is waiting.",
    ),
    gauge(
        "warmer_queue_messages",
        "Messages that wait in a queue of the jobs for a worker; missing if the broker does not report it.",
        ("queue",),
    ),
    # Keys
    gauge("warmer_key_coverage_ratio", "The share of the job's keys that is cached, 0 to 1."),
    gauge("warmer_declared_keys", "How many keys the job declares, at most 100,000."),
    gauge("warmer_oldest_key_age_seconds", "The age of the job's oldest cached key."),
    gauge(
        "warmer_effectiveness_ratio",
        "The share of the job's warm keys that was read within the lifetime of a key, 0 to 1.",
    ),
    gauge(
        "warmer_missed_while_declared",
        "An estimate of the misses of declared keys within the lifetime of a key.",
    ),
    gauge(
        "warmer_observation_failing",
        "Whether the job's last observation failed, so that its values are older: 1 or 0.",
    ),
    gauge(
        "warmer_observation_timestamp_seconds",
        "When the job's keys were last observed successfully; 0: never.",
    ),
    gauge(
        "warmer_last_look_timestamp_seconds",
        "When any job was last observed, successfully or not; old if beat or the workers stopped. 0: never.",
        (),
    ),
    # Reads
    gauge("warmer_cache_up", "Whether the job's cache answers: 1 or 0."),
    counter("warmer_hits", "Keys that were read and found in the cache."),
    counter("warmer_misses", "Keys that were read and not found in the cache."),
    counter("warmer_reads_past_cache", "Keys that were read from the database, bypassing the cache."),
    counter("warmer_watched_misses", "Misses of watched keys, which the job declares."),
    counter("warmer_reader_keys", "Keys that readers loaded and stored, by outcome.", ("job", "outcome")),
    # Invalidations
    summary(
        "warmer_invalidation_lag_seconds",
        "How long after its change was committed each invalidation was applied.",
    ),
    gauge("warmer_pending_invalidations", "Changes whose invalidations are pending.", ()),
    gauge(
        "warmer_pending_invalidation_age_seconds",
        "How long the oldest invalidation has been pending; 0: none is.",
        (),
    ),
    gauge("warmer_database_up", "Whether a database with recorded changes answers: 1 or 0.", ("database",)),
    # Audits
    gauge(
        "warmer_audit_keys",
        "Keys of the job's last audit, by verdict; wrong: without those repaired since.",
        ("job", "outcome"),
    ),
    gauge("warmer_audit_timestamp_seconds", "When the job's last audit ended."),
)

Sample = tuple[Any, ...]
"""The name of a family, the values of its labels, then its value; for a summary the count, then the sum."""


def samples(now: Snapshot) -> Iterator[Sample]:
    """Yield the values of all families, without those that are unknown."""
    for spec in now.specs:
        job = spec.name
        yield "warmer_job_required", [job], spec.required
        yield "warmer_job_interval_seconds", [job], spec.every.total_seconds() if spec.every else 0.0
        yield "warmer_job_timeout_seconds", [job], spec.timeout.total_seconds()
        yield "warmer_last_success_timestamp_seconds", [job], _timestamp(now.last_success(job))
        yield "warmer_queue_wait_seconds", [job], now.queue_wait(job)
        yield "warmer_cache_up", [job], spec.cache not in now.down
        for state in ACTIVE:
            yield "warmer_active_runs", [job, state.value], now.is_active(job, state)
    for job in now.totals:
        yield from _of_runs(now, job)
    for queue, length in now.queues.items():
        yield "warmer_queue_messages", [queue], length
    for job, row in now.observations.items():
        known = {
            "warmer_key_coverage_ratio": row.coverage,
            "warmer_declared_keys": row.declared,
            "warmer_oldest_key_age_seconds": row.oldest_seconds,
            "warmer_effectiveness_ratio": row.effectiveness,
            "warmer_missed_while_declared": row.missed_while_declared,
        }
        yield from ((name, [job], value) for name, value in known.items() if value is not None)
        yield "warmer_observation_failing", [job], bool(row.error)
        yield "warmer_observation_timestamp_seconds", [job], _timestamp(row.observed_at)
    yield "warmer_last_look_timestamp_seconds", [], _timestamp(now.last_attempt)
    for job, counts in now.reads.items():
        yield from _of_reads(job, counts)
    yield "warmer_pending_invalidations", [], now.backlog.count
    yield "warmer_pending_invalidation_age_seconds", [], now.backlog.age.total_seconds()
    for alias in (*now.backlog.answered, *now.backlog.unanswered):
        yield "warmer_database_up", [alias], alias in now.backlog.answered
    for job, audit in now.audits.items():
        for verdict in Verdict:
            keys = audit.unrepaired if verdict == Verdict.WRONG else getattr(audit, verdict)
            yield "warmer_audit_keys", [job, verdict], keys
        yield "warmer_audit_timestamp_seconds", [job], _timestamp(audit.finished_at)


def _of_runs(now: Snapshot, job: str) -> Iterator[Sample]:
    """Yield what is known of a job's ended runs."""
    for row in now.totals[job]:
        yield "warmer_runs", [job, row.trigger, row.state], row.runs
    for outcome in Outcome:
        yield "warmer_run_keys", [job, outcome.value], now.total(job, outcome.value)
    started = now.total(job, "started")
    yield "warmer_run_duration_seconds", [job], started, now.total(job, "took_seconds")
    yield "warmer_run_wait_seconds", [job], started, now.total(job, "wait_seconds")
    for name in ("work_seconds", "queries", "batches"):
        yield f"warmer_run_{name}", [job], now.total(job, name)
    last = now.last_run(job)
    for state in State:
        if state not in ACTIVE:
            yield "warmer_last_run_state", [job, state.value], last.state == state
    yield "warmer_last_run_timestamp_seconds", [job], _timestamp(last.last_at)


def _of_reads(job: str, counts: Mapping[str, int]) -> Iterator[Sample]:
    """Yield what readers and invalidations of a job have counted."""
    for name in ("hits", "misses", "watched_misses"):
        yield f"warmer_{name}", [job], counts.get(name, 0)
    yield "warmer_reads_past_cache", [job], counts.get("past", 0)
    for outcome in READER_OUTCOMES:
        yield "warmer_reader_keys", [job, outcome.value], counts.get(outcome.value, 0)
    lag = counts.get("invalidation_us", 0) / 1e6
    yield "warmer_invalidation_lag_seconds", [job], counts.get("invalidations", 0), lag


def _timestamp(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0
