"""What is measured of the jobs and their runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from warmer.declarations.spec import JobSpec
from warmer.models import ACTIVE, RunTotal, State
from warmer.monitoring.metrics.families import Family, counter, gauge, of_jobs, summary, timestamp
from warmer.monitoring.metrics.run_totals import OUTCOMES
from warmer.monitoring.metrics.snapshot import Snapshot


def declared(seen: Snapshot) -> Iterator[Family]:
    yield of_jobs(
        seen,
        "warmer_job_required",
        "Whether the deploy fails when the job does: 1 or 0.",
        lambda spec: float(spec.required),
    )
    yield of_jobs(
        seen,
        "warmer_job_interval_seconds",
        "How often the job is declared to be refreshed; 0: it is not scheduled.",
        lambda spec: spec.every.total_seconds() if spec.every else 0.0,
    )
    yield of_jobs(
        seen,
        "warmer_job_timeout_seconds",
        "How long a key of the job lives.",
        lambda spec: spec.timeout.total_seconds(),
    )


def ended_runs(seen: Snapshot) -> Iterator[Family]:
    rows = [total for totals in seen.totals.values() for total in totals]
    yield counter(
        "warmer_runs",
        "Runs that ended.",
        ["job", "trigger", "state"],
        (((row.job, row.trigger, row.state), row.runs) for row in rows),
    )
    yield counter(
        "warmer_run_keys",
        "Keys of ended runs, by what became of them. Superseded: invalidations overtook the write.",
        ["job", "outcome"],
        (
            ((job, outcome), sum(getattr(row, outcome) for row in totals))
            for job, totals in seen.totals.items()
            for outcome in OUTCOMES
        ),
    )
    yield summary(
        "warmer_run_duration_seconds",
        "How long runs took, from their start to their end.",
        ((job, _sum(totals, "started"), _sum(totals, "took_seconds")) for job, totals in seen.totals.items()),
    )
    yield summary(
        "warmer_run_wait_seconds",
        "How long runs waited in their queue, from the request to the start.",
        ((job, _sum(totals, "started"), _sum(totals, "wait_seconds")) for job, totals in seen.totals.items()),
    )
    for what, help in (
        ("work_seconds", "Seconds of work of ended runs, summed over the workers."),
        ("queries", "Database queries of ended runs."),
        ("batches", "Batches of ended runs."),
    ):
        yield counter(
            f"warmer_run_{what}",
            help,
            ["job"],
            (((job,), _sum(totals, what)) for job, totals in seen.totals.items()),
        )


def last_runs(seen: Snapshot) -> Iterator[Family]:
    last = {job: max(totals, key=lambda row: row.last_at) for job, totals in seen.totals.items()}
    succeeded = {
        job: max((row.last_at for row in totals if row.state == State.COMPLETE), default=None)
        for job, totals in seen.totals.items()
    }
    yield gauge(
        "warmer_last_run_state",
        "1 for the state in which the job's last run ended, 0 for the others.",
        ["job", "state"],
        (
            ((job, state.value), float(row.state == state))
            for job, row in last.items()
            for state in State
            if state.is_final
        ),
    )
    yield gauge(
        "warmer_last_run_timestamp_seconds",
        "When the job's last run ended.",
        ["job"],
        (((job,), row.last_at.timestamp()) for job, row in last.items()),
    )
    yield of_jobs(
        seen,
        "warmer_last_success_timestamp_seconds",
        "When a run of the job was last complete; 0: never.",
        lambda spec: timestamp(succeeded.get(spec.name)),
    )
    yield gauge(
        "warmer_active_runs",
        "Runs that have not ended, by where they are.",
        ["job", "state"],
        (
            ((spec.name, state.value), float(_is_active(seen, spec, state)))
            for spec in seen.specs
            for state in ACTIVE
        ),
    )
    yield of_jobs(
        seen,
        "warmer_queue_wait_seconds",
        "How long the job's run has been waiting for a worker; 0: none is.",
        lambda spec: _queue_wait(seen, spec),
    )


def _sum(totals: Sequence[RunTotal], what: str) -> float:
    return sum(float(getattr(row, what)) for row in totals)


def _is_active(seen: Snapshot, spec: JobSpec, state: State) -> bool:
    run = seen.active.get(spec.name)
    return run is not None and run.state == state


def _queue_wait(seen: Snapshot, spec: JobSpec) -> float:
    run = seen.active.get(spec.name)
    if run is None or run.state != State.QUEUED:
        return 0.0
    return max(0.0, (seen.taken_at - run.requested_at).total_seconds())
