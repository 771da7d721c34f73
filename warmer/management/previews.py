"""What `warm_cache --list` and `--dry-run` show: for people, and as plain data for scripts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError

from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable
from warmer.filling.batches import Batches
from warmer.management.verdict import INCOMPLETE
from warmer.models import WarmingRun
from warmer.report import Report, describe


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What is shown of one job.

    Attributes:
        row: for people.
        data: for scripts: times are seconds, or moments as ISO 8601.
        report: what is known of its keys already: the ids that cannot be part of a key fail.
    """

    row: dict[str, Any]
    data: dict[str, Any]
    report: Report


def listed(specs: list[JobSpec]) -> list[Preview]:
    """Return how each job is declared, and its last run."""
    last = WarmingRun.objects.latest_per_job(spec.name for spec in specs)
    return [_listed(spec, last.get(spec.name)) for spec in specs]


def _listed(spec: JobSpec, last: WarmingRun | None) -> Preview:
    row = {
        "job": spec.name,
        "key": str(spec.key),
        "required": "yes" if spec.required else "no",
        "every": str(spec.every) if spec.every else "not scheduled",
        "timeout": str(spec.timeout),
        "cache": spec.cache,
        "queue": spec.queue,
        "last run": last.state if last else "never",
    }
    data = {
        "job": spec.name,
        "key": str(spec.key),
        "required": spec.required,
        "every_seconds": spec.every.total_seconds() if spec.every else None,
        "timeout_seconds": spec.timeout.total_seconds(),
        "cache": spec.cache,
        "queue": spec.queue,
        "last_run": _run(last) if last else None,
    }
    return Preview(row=row, data=data, report=Report(job=spec.name))


def _run(run: WarmingRun) -> dict[str, Any]:
    moments = {name: getattr(run, name) for name in ("requested_at", "started_at", "finished_at")}
    return {
        "run": run.pk,
        "state": run.state,
        "trigger": run.trigger,
        **{name: moment.isoformat() if moment else None for name, moment in moments.items()},
        "seconds": run.took,
    }


def planned(spec: JobSpec) -> Preview:
    """Return what a warm of a job would do.

    Raises:
        CommandError: its ids cannot be found.
    """
    batches = Batches(spec)
    keys = count = 0
    try:
        for batch in batches:
            keys += len(batch)
            count += 1
    except (DatabaseError, StoreUnavailable):
        raise
    except Exception as error:  # noqa: BLE001 - the declared ids are the project's own
        raise CommandError(
            f"The ids of {spec.name} could not be found: {describe(error)}. Nothing was planned.",
            returncode=INCOMPLETE,
        ) from None
    past = WarmingRun.objects.past_cost(spec.name, keyed=spec.keyed)
    queries = count * (past.queries_per_batch if past else 1) + batches.report.queries
    row = {
        "job": spec.name,
        "keys": keys,
        "batches": count,
        "failed": batches.report.failed,
        "queries": round(queries),
        "seconds": keys * past.seconds_per_key if past else None,
    }
    failures = [asdict(failure) for failure in batches.report.failures]
    return Preview(row=row, data=row | {"failures": failures}, report=batches.report)
