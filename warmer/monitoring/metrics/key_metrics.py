"""What is measured of the keys: observations, reads, invalidations, audits."""

from __future__ import annotations

from collections.abc import Iterator

from warmer.monitoring.audit import Verdict
from warmer.monitoring.metrics.families import Family, counter, gauge, observed, of_jobs, summary, timestamp
from warmer.monitoring.metrics.snapshot import Snapshot

# What becomes of the keys that a reader loads.
READER_OUTCOMES = ("written", "no_value", "superseded", "failed")


def keys(seen: Snapshot) -> Iterator[Family]:
    yield observed(
        seen,
        "warmer_key_coverage_ratio",
        "The share of the job's keys that is cached, 0 to 1.",
        lambda found: found.coverage,
    )
    yield observed(
        seen,
        "warmer_declared_keys",
        "How many keys the job declares, at most 100,000.",
        lambda found: found.declared,
    )
    yield observed(
        seen,
        "warmer_oldest_key_age_seconds",
        "The age of the job's oldest cached key.",
        lambda found: None if found.oldest is None else found.oldest.total_seconds(),
    )
    yield observed(
        seen,
        "warmer_effectiveness_ratio",
        "The share of the job's warm keys that was read before they would have expired, 0 to 1.",
        lambda found: found.effectiveness,
    )
    yield observed(
        seen,
        "warmer_missed_while_declared",
        "About how many reads of declared keys missed, in the period that the effectiveness is of.",
        lambda found: found.missed_while_declared,
    )
    yield observed(
        seen,
        "warmer_observation_failing",
        "Whether the last look at the job failed, so that its values are older: 1 or 0.",
        lambda found: float(bool(found.error)),
    )
    yield observed(
        seen,
        "warmer_observation_timestamp_seconds",
        "When the job's keys were last looked at with success; 0: never.",
        lambda found: timestamp(found.observed_at),
    )
    looks = [found.looked_at for found in seen.observations.values() if found.looked_at]
    yield gauge(
        "warmer_last_look_timestamp_seconds",
        "When any job was last looked at: gets old when beat or the workers are silent. 0: never.",
        [],
        [((), timestamp(max(looks, default=None)))],
    )


def reads(seen: Snapshot) -> Iterator[Family]:
    yield of_jobs(
        seen,
        "warmer_cache_up",
        "Whether the job's cache answers: 1 or 0.",
        lambda spec: float(seen.answers[spec.name]),
    )
    for name, help, what in (
        ("warmer_hits", "Keys that were read and found in the cache.", "hits"),
        ("warmer_misses", "Keys that were read and not found in the cache.", "misses"),
        (
            "warmer_reads_past_cache",
            "Keys that were read from the database without a look at the cache.",
            "past",
        ),
        (
            "warmer_watched_misses",
            "Reads of watched keys, which the job declares, that missed.",
            "watched_misses",
        ),
    ):
        yield counter(
            name, help, ["job"], (((job,), counts.get(what, 0)) for job, counts in seen.reads.items())
        )
    yield counter(
        "warmer_reader_keys",
        "Keys that readers loaded and stored, by what became of them.",
        ["job", "outcome"],
        (
            ((job, outcome), counts.get(outcome, 0))
            for job, counts in seen.reads.items()
            for outcome in READER_OUTCOMES
        ),
    )


def invalidations(seen: Snapshot) -> Iterator[Family]:
    yield summary(
        "warmer_invalidation_lag_seconds",
        "How long after its change was committed each invalidation was applied.",
        (
            (job, counts.get("invalidations", 0), counts.get("invalidation_us", 0) / 1e6)
            for job, counts in seen.reads.items()
        ),
    )
    yield gauge(
        "warmer_pending_invalidations",
        "Changes whose invalidations wait to be applied.",
        [],
        [((), seen.backlog.count)],
    )
    yield gauge(
        "warmer_pending_invalidation_age_seconds",
        "How long the oldest of them has been waiting; 0: none is.",
        [],
        [((), seen.backlog.age.total_seconds())],
    )


def audits(seen: Snapshot) -> Iterator[Family]:
    yield gauge(
        "warmer_audit_keys",
        "Keys that the job's last audit looked at, by what it found.",
        ["job", "outcome"],
        (
            ((job, verdict.value), getattr(audit, verdict.value))
            for job, audit in seen.audits.items()
            for verdict in Verdict
        ),
    )
    yield gauge(
        "warmer_audit_timestamp_seconds",
        "When the job's last audit ended.",
        ["job"],
        (((job,), audit.finished_at.timestamp()) for job, audit in seen.audits.items()),
    )
