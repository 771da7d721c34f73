"""A refresh when all keys are good still, against a full warm: what it costs to find nothing to do."""

from __future__ import annotations

from functools import partial
from typing import Any

from bench.measure import Benchmark, Comparison, Contender
from bench.profiles import WHOLE, create_users, declare_job, expect_all
from warmer import runs
from warmer.api import KeyedJob
from warmer.models import Trigger, WarmingRun
from warmer.runs import execution

TENTH = 10.0


def benchmark(rows: int) -> Benchmark:
    """Return what is asked for: a run of everything, of what is missing, and of what has little time left."""
    ids = create_users(rows)
    loads: list[int] = []

    def loader(ids: Any) -> Any:
        loads.append(len(ids))
        return WHOLE.load(ids)

    job = declare_job(loader=loader, refresh_below=0.5)
    job.warm()
    ways = {
        "full": ("warmer: a full run", Trigger.COMMAND, False),
        "missing": ("warmer: only what is missing", Trigger.COMMAND, True),
        "when": ("warmer: the schedule's, with refresh_below", Trigger.SCHEDULE, False),
    }
    contenders = [
        Contender(
            name=name,
            title=title,
            run=partial(_run, job, trigger, only_missing),
            operations=rows,
            prepare=loads.clear,
            verify=partial(_verify, loads, rows, fresh=name != "full", check=expect_all("default", ids)),
        )
        for name, (title, trigger, only_missing) in ways.items()
    ]
    comparisons = [
        Comparison(subject=name, against="full", kind="speed", target=TENTH) for name in ("missing", "when")
    ]
    return Benchmark(operation="profile", shows="time", contenders=contenders, comparisons=comparisons)


def _run(job: KeyedJob[Any], trigger: Trigger, only_missing: bool) -> None:
    execution.execute(job.spec, runs.open_run(job.name, trigger, only_missing=only_missing).run)


def _verify(loads: list[int], rows: int, *, fresh: bool, check: Any) -> None:
    run = WarmingRun.objects.latest("id")
    wanted = (rows, 0, 0) if fresh else (0, rows, rows)
    if (run.skipped, run.written, sum(loads)) != wanted:
        raise AssertionError(f"{run.skipped} skipped, {run.written} written, {sum(loads)} loaded of {rows}")
    check()
