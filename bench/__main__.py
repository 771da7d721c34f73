"""Run benchmarks: `script/bench`."""

import argparse
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from bench import results
from bench.catalogue import BENCHMARKS
from bench.measure import measure
from bench.results import Result
from bench.site import machine, running_site, versions

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "performance.md"
INSTALL_PEERS = (HERE.parent / "script" / "peers", "--install")
PEERS_PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
QUICK_ROUNDS = 5


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
