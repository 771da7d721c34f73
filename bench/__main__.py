"""Run benchmarks: `script/bench`. Each is a function `name(rows, site)` in a module, which returns tables."""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from bench import results
from bench.measure import measure
from bench.results import Result
from bench.site import machine, running_site, versions

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "performance.md"
INSTALL_PEERS = (HERE.parent / "script" / "peers", "--install")
PEERS_PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
QUICK_ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark: the function of its name in a module."""

    module: str
    summary: str
    rows: int  # a tenth of them with `--quick`
    unit: str = "rows"
    rounds: int = 9
    warm_up: bool = True  # an unmeasured round comes first; useless if each row starts new processes
    shows: Literal["rate", "time"] = "time"  # operations a second, or the time of one
    database: str = "sqlite"  # or "postgresql", if several processes write at once
    peers: tuple[str, ...] = ()  # packages of other libraries, which are in .venv-peers


WARM = "Warming user profiles: a job against a loop of cache.set, set_many, and the limit"
PARTS = "Parts of warming: reading rows, encoding values and writing them, each alone"
READ = "Reading profiles: job.get against cache.get and the database"
SAVE = "Saving users: triggers and signals against a post_save handler with cache.delete"
REFRESH = "A refresh with nothing to do: runs when all keys are fresh, against a full one"
FANOUT = "Fan-out: batches on Celery workers, against the same in one process"
SCALE = "Scale: jobs of a hundredth, a tenth and all of so many keys, their time and memory"
HERD = "A herd of readers on a cold key: how often it is loaded, and until when the last has it"
OUTAGE = "An outage of the cache: reads, pages and saves while it refuses, and while it hangs"
PEERS = "Other libraries that can warm: the same profiles, each in its own way"
SUITE = "A project's tests: without warmer, with it, and with jobs that depend on what they write"
CLUSTER = "Redis Cluster: writes under the fences of its slots, against a pipeline of SET"
on_workers = partial(Benchmark, module="workers", unit="keys", database="postgresql")
LIBRARIES = ("django-cacheback", "django-cacheops", "dogpile.cache")

BENCHMARKS = {
    "warm": Benchmark(module="profiles", summary=WARM, rows=100_000, rounds=5, shows="rate"),
    "parts": Benchmark(module="profiles", summary=PARTS, rows=10_000),
    "read": Benchmark(module="profiles", summary=READ, rows=2_000),
    "save": Benchmark(module="save", summary=SAVE, rows=500),
    "suite": Benchmark(module="suite", summary=SUITE, rows=300, unit="tests", rounds=5),
    "refresh": Benchmark(module="profiles", summary=REFRESH, rows=100_000),
    "fanout": on_workers(summary=FANOUT, rows=60_000, rounds=5),
    "scale": on_workers(summary=SCALE, rows=1_000_000, rounds=3, warm_up=False),
    "herd": Benchmark(module="herd", summary=HERD, rows=200, unit="readers", peers=LIBRARIES[:1]),
    "outage": Benchmark(module="outage", summary=OUTAGE, rows=10_000, rounds=3, warm_up=False),
    "cluster": Benchmark(module="profiles", summary=CLUSTER, rows=10_000, unit="keys"),
    "peers": Benchmark(module="peers", summary=PEERS, rows=10_000, shows="rate", peers=LIBRARIES),
}


def main(arguments: list[str]) -> int:
    """Run the requested benchmarks; return the exit code."""
    options = _parser().parse_args(arguments)
    if options.list:
        for name, benchmark in BENCHMARKS.items():
            print(f"{name:8}{benchmark.summary}")
        return 0
    names = options.names or list(BENCHMARKS)
    if len(names) > 1:
        # Django is set up once per process, and no benchmark may see the leftovers of another.
        flags = [each for each in arguments if each not in BENCHMARKS]
        return max(subprocess.call([sys.executable, "-m", "bench", name, *flags]) for name in names)
    if BENCHMARKS[names[0]].peers and find_spec("cacheback") is None:
        return subprocess.call(INSTALL_PEERS) or subprocess.call([PEERS_PYTHON, "-m", "bench", *arguments])
    _run(names[0], options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="script/bench", description="Compare warmer with alternatives.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", choices=[*BENCHMARKS, []], help="default: all benchmarks"
    )
    parser.add_argument("--list", action="store_true", help="list the benchmarks")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows: rough figures")
    parser.add_argument("--rows", type=int, help="the number of rows (default: depends on the benchmark)")
    parser.add_argument(
        "--rounds", type=int, help=f"default: depends on the benchmark; at most {QUICK_ROUNDS} with --quick"
    )
    parser.add_argument("--results", type=Path, help="the folder to write to (default: bench/results)")
    parser.add_argument("--docs", action="store_true", help="put the tables into docs/performance.md as well")
    return parser


def _run(name: str, options: argparse.Namespace) -> None:
    benchmark = BENCHMARKS[name]
    rows = options.rows or (benchmark.rows // 10 if options.quick else benchmark.rows)
    rounds = options.rounds or (min(QUICK_ROUNDS, benchmark.rounds) if options.quick else benchmark.rounds)
    flags = ["--quick"] if options.quick else []
    flags += [f"--{flag}={getattr(options, flag)}" for flag in ("rows", "rounds") if getattr(options, flag)]
    measured_on = machine()
    print(f"\n{name}: {benchmark.summary}. {rows:,} {benchmark.unit}, {rounds} rounds.", flush=True)
    with running_site(benchmark.database) as site:
        tables = getattr(import_module(f"bench.{benchmark.module}"), name)(rows, site)
        result = Result(
            benchmark=name,
            summary=benchmark.summary,
            command=" ".join(["script/bench", name, *flags]),
            measured=datetime.now(UTC).isoformat(timespec="seconds"),
            where=f"{measured_on}; {versions(site, benchmark.peers)}",
            rows=rows,
            unit=benchmark.unit,
            rounds=rounds,
            shows=benchmark.shows,
            tables=measure(
                tables,
                rounds=rounds,
                warm_up=benchmark.warm_up and rounds > 1,  # a single round only gives rough figures
                server_cpu=site.cpu,
            ),
        )
    # The repository has only results of full measurements.
    path = result.write(options.results or (RESULTS / "quick" if options.quick else RESULTS))
    path.with_suffix(".svg").write_text(results.draw(result))
    if options.docs:
        PAGE.write_text(results.put_into(PAGE.read_text(), result))
    print(
        f"\n{result.where}\n\n{result.markdown()}\n\nWritten to {path} and {path.with_suffix('.svg').name}."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
