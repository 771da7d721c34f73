"""Every metric: its name, help text and labels, and how to get its values from a snapshot."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from warmer.declarations.spec import JobSpec
from warmer.models import ACTIVE, State, Verdict
from warmer.monitoring.snapshot import Snapshot
from warmer.report import Outcome

# Outcomes of keys loaded by readers.
READER_OUTCOMES = (Outcome.WRITTEN, Outcome.NO_VALUE, Outcome.SUPERSEDED, Outcome.FAILED)

# The values of the labels, then the value; for a summary the count, then the sum.
Values = Iterable[tuple[Any, ...]]


@dataclass(frozen=True)
class Family:
    """A metric with all its values.

    Attributes:
        kind: `counter`, `gauge` or `summary`.
        name: without the `_total` of a counter.
        help: its meaning, in a sentence.
        labels: the names of its labels.
    """

    kind: str
    name: str
    help: str
    labels: Sequence[str]
    values: Callable[[Snapshot], Values]


gauge, counter, summary = (partial(Family, kind) for kind in ("gauge", "counter", "summary"))


def of_jobs(name: str, help: str, value: Callable[[Snapshot, JobSpec], float]) -> Family:
    """Return a gauge of every declared job."""
    return gauge(name, help, ["job"], lambda now: (([spec.name], value(now, spec)) for spec in now.specs))


def of_observations(name: str, help: str, field: str) -> Family:
    """Return a gauge of the observed jobs, without those for which it is unknown."""

    def values(now: Snapshot) -> Values:
        found = ((job, getattr(row, field)) for job, row in now.observations.items())
        return (([job], value) for job, value in found if value is not None)

    return gauge(name, help, ["job"], values)


def of_totals(name: str, help: str, field: str) -> Family:
    """Return a counter of the jobs' ended runs."""
    return counter(name, help, ["job"], lambda now: (([job], now.total(job, field)) for job in now.totals))


def of_reads(name: str, help: str, what: str) -> Family:
    """Return a counter of the jobs' reads."""
    return counter(
        name, help, ["job"], lambda now: (([job], counts.get(what, 0)) for job, counts in now.reads.items())
    )


def duration(name: str, help: str, field: str) -> Family:
    """Return a summary of seconds of the runs that started."""

    def values(now: Snapshot) -> Values:
        return (([job], now.total(job, "started"), now.total(job, field)) for job in now.totals)

    return summary(name, help, ["job"], values)


def _timestamp(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0


FAMILIES = (
    # Jobs
    of_jobs(
        "warmer_job_required",
        "Whether the deploy fails when the job does: 1 or 0.",
        lambda _, spec: spec.required,
    ),
    of_jobs(
        "warmer_job_interval_seconds",
        "The declared interval between refreshes of the job; 0: it is not scheduled.",
        lambda _, spec: spec.every.total_seconds() if spec.every else 0.0,
    ),
    of_jobs(
        "warmer_job_timeout_seconds",
        "How long a key of the job lives.",
        lambda _, spec: spec.timeout.total_seconds(),
    ),
    # Ended runs
    counter(
        "warmer_runs",
        "Runs that ended.",
        ["job", "trigger", "state"],
        lambda now: (
            ([row.job, row.trigger, row.state], row.runs) for rows in now.totals.values() for row in rows
        ),
    ),
    counter(
        "warmer_run_keys",
        "Keys of ended runs, by outcome. Superseded: invalidations overtook the write.",
        ["job", "outcome"],
        lambda now: (
            ([job, outcome.value], now.total(job, outcome.value)) for job in now.totals for outcome in Outcome
        ),
    ),
    duration(
        "warmer_run_duration_seconds", "How long runs took, from their start to their end.", "took_seconds"
    ),
    duration(
        "warmer_run_wait_seconds",
        "How long runs waited in their queue, from the request to the start.",
        "wait_seconds",
    ),
    of_totals(
        "warmer_run_work_seconds", "Seconds of work of ended runs, summed over the workers.", "work_seconds"
    ),
    of_totals("warmer_run_queries", "Database queries of ended runs.", "queries"),
    of_totals("warmer_run_batches", "Batches of ended runs.", "batches"),
    # The last run of each job, and the active ones
    gauge(
        "warmer_last_run_state",
        "1 for the state in which the job's last run ended, 0 for the others.",
        ["job", "state"],
        lambda now: (
            ([job, state.value], now.last_run(job).state == state)
            for job in now.totals
            for state in State
            if state not in ACTIVE
        ),
    ),
    gauge(
        "warmer_last_run_timestamp_seconds",
        "When the job's last run ended.",
        ["job"],
        lambda now: (([job], _timestamp(now.last_run(job).last_at)) for job in now.totals),
    ),
    of_jobs(
        "warmer_last_success_timestamp_seconds",
        "When a run of the job was last complete; 0: never.",
        lambda now, spec: _timestamp(now.last_success(spec.name)),
    ),
    gauge(
        "warmer_active_runs",
        "Runs that have not ended, by state.",
        ["job", "state"],
        lambda now: (
            ([spec.name, state.value], now.is_active(spec.name, state))
            for spec in now.specs
            for state in ACTIVE
        ),
    ),
    of_jobs(
        "warmer_queue_wait_seconds",
        "How long the job's run has been waiting for a worker; 0: none is waiting.",
        lambda now, spec: now.queue_wait(spec.name),
    ),
    gauge(
        "warmer_queue_messages",
        "Messages that wait in a queue of the jobs for a worker; missing if the broker does not report it.",
        ["queue"],
        lambda now: (([queue], length) for queue, length in now.queues.items()),
    ),
    # Keys
    of_observations(
        "warmer_key_coverage_ratio", "The share of the job's keys that is cached, 0 to 1.", "coverage"
    ),
    of_observations("warmer_declared_keys", "How many keys the job declares, at most 100,000.", "declared"),
    of_observations(
        "warmer_oldest_key_age_seconds", "The age of the job's oldest cached key.", "oldest_seconds"
    ),
    of_observations(
        "warmer_effectiveness_ratio",
        "The share of the job's warm keys that was read within the lifetime of a key, 0 to 1.",
        "effectiveness",
    ),
    of_observations(
        "warmer_missed_while_declared",
        "An estimate of the misses of declared keys within the lifetime of a key.",
        "missed_while_declared",
    ),
    gauge(
        "warmer_observation_failing",
        "Whether the job's last observation failed, so that its values are older: 1 or 0.",
        ["job"],
        lambda now: (([job], bool(row.error)) for job, row in now.observations.items()),
    ),
    gauge(
        "warmer_observation_timestamp_seconds",
        "When the job's keys were last observed successfully; 0: never.",
        ["job"],
        lambda now: (([job], _timestamp(row.observed_at)) for job, row in now.observations.items()),
    ),
    gauge(
        "warmer_last_look_timestamp_seconds",
        "When any job was last observed, successfully or not; old if beat or the workers stopped. 0: never.",
        [],
        lambda now: [([], _timestamp(now.last_attempt))],
    ),
    # Reads
    of_jobs(
        "warmer_cache_up",
        "Whether the job's cache answers: 1 or 0.",
        lambda now, spec: spec.cache not in now.down,
    ),
    of_reads("warmer_hits", "Keys that were read and found in the cache.", "hits"),
    of_reads("warmer_misses", "Keys that were read and not found in the cache.", "misses"),
    of_reads(
        "warmer_reads_past_cache", "Keys that were read from the database, bypassing the cache.", "past"
    ),
    of_reads(
        "warmer_watched_misses",
        "Misses of watched keys, which the job declares.",
        "watched_misses",
    ),
    counter(
        "warmer_reader_keys",
        "Keys that readers loaded and stored, by outcome.",
        ["job", "outcome"],
        lambda now: (
            ([job, outcome.value], counts.get(outcome.value, 0))
            for job, counts in now.reads.items()
            for outcome in READER_OUTCOMES
        ),
    ),
    # Invalidations
    summary(
        "warmer_invalidation_lag_seconds",
        "How long after its change was committed each invalidation was applied.",
        ["job"],
        lambda now: (
            ([job], counts.get("invalidations", 0), counts.get("invalidation_us", 0) / 1e6)
            for job, counts in now.reads.items()
        ),
    ),
    gauge(
        "warmer_pending_invalidations",
        "Changes whose invalidations are pending.",
        [],
        lambda now: [([], now.backlog.count)],
    ),
    gauge(
        "warmer_pending_invalidation_age_seconds",
        "How long the oldest invalidation has been pending; 0: none is.",
        [],
        lambda now: [([], now.backlog.age.total_seconds())],
    ),
    gauge(
        "warmer_database_up",
        "Whether a database with recorded changes answers: 1 or 0.",
        ["database"],
        lambda now: [
            ([alias], alias in now.backlog.answered)
            for alias in (*now.backlog.answered, *now.backlog.unanswered)
        ],
    ),
    # Audits
    gauge(
        "warmer_audit_keys",
        "Keys of the job's last audit, by verdict; wrong: without those repaired since.",
        ["job", "outcome"],
        lambda now: (
            ([job, verdict], audit.unrepaired if verdict == Verdict.WRONG else getattr(audit, verdict))
            for job, audit in now.audits.items()
            for verdict in Verdict
        ),
    ),
    gauge(
        "warmer_audit_timestamp_seconds",
        "When the job's last audit ended.",
        ["job"],
        lambda now: (([job], _timestamp(audit.finished_at)) for job, audit in now.audits.items()),
    ),
)
