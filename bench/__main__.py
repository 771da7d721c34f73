"""Run benchmarks: `script/bench`."""

from __future__ import annotations

import argparse
import cProfile
import importlib
import pstats
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from redis import Redis

from bench import chart, machine, results
from bench.catalogue import CATALOGUE, ENTRIES, Entry
from bench.measure import Benchmark, Contender, Rounds, compare, measure
from bench.results import Figure, Result
from bench.site import running_site

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "performance.md"
INSTALL_PEERS = (HERE.parent / "script" / "peers", "--install")
PEERS_PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
QUICK_ROUNDS = 5
PROFILED_FUNCTIONS = 20


def main(arguments: list[str]) -> int:
    """Run the benchmarks that are asked for; return the exit code."""
    options = _parser().parse_args(arguments)
    if options.list:
        for entry in ENTRIES:
            print(f"{entry.name:8}{entry.summary}")
        return 0
    names = options.names or list(CATALOGUE)
    if len(names) == 1:
        entry = CATALOGUE[names[0]]
        if entry.peers and find_spec("cacheback") is None:
            return _run_beside_peers(arguments)
        _run(entry, options)
        return 0
    # Django is set up once a process, and no benchmark shall find what another left behind.
    flags = [each for each in arguments if each not in CATALOGUE]
    codes = [subprocess.call([sys.executable, "-m", "bench", name, *flags]) for name in names]
    return max(codes)


def _run_beside_peers(arguments: list[str]) -> int:
    """Run a benchmark with the Python that has the other libraries; return the exit code."""
    return subprocess.call(INSTALL_PEERS) or subprocess.call([PEERS_PYTHON, "-m", "bench", *arguments])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="script/bench", description="Measure warmer beside other ways.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", choices=[*CATALOGUE, []], help="default: all of them"
    )
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows: a look, not a measurement")
    parser.add_argument("--rows", type=int, help="another number of rows")
    parser.add_argument("--rounds", type=int, help=f"default: each its own, and {QUICK_ROUNDS} with --quick")
    parser.add_argument("--results", type=Path, help="the folder to write to (default: bench/results)")
    parser.add_argument("--docs", action="store_true", help="put the tables into docs/performance.md as well")
    parser.add_argument("--profile", action="store_true", help="then show where warmer's time goes")
    return parser


def _run(entry: Entry, options: argparse.Namespace) -> None:
    rows = options.rows or (entry.quick_rows if options.quick else entry.rows)
    rounds = options.rounds or (min(QUICK_ROUNDS, entry.rounds) if options.quick else entry.rounds)
    # What is kept in the repository is measured in full.
    folder = options.results or (RESULTS / "quick" if options.quick else RESULTS)
    measured_on = machine.machine()
    print(f"\n{entry.name}: {entry.summary}. {rows:,} {entry.unit}, {rounds} rounds.", flush=True)
    with running_site(entry.database) as server:
        benchmark: Benchmark = importlib.import_module(f"bench.{entry.name}").benchmark(rows)
        with server.client() as client:
            taken = measure(
                benchmark.contenders,
                rounds=rounds,
                server_cpu=partial(_server_cpu, client),
                progress=_show_round,
            )
        result = Result(
            benchmark=entry.name,
            summary=entry.summary,
            command=_command(entry, options),
            measured=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=measured_on,
            versions=machine.versions(server.version(), entry.peers),
            rows=rows,
            rounds=rounds,
            operation=benchmark.operation,
            shows=benchmark.shows,
            figures=[_figure(contender, taken) for contender in benchmark.contenders],
            ratios=[compare(each, benchmark.contenders, taken) for each in benchmark.comparisons],
            unit=entry.unit,
        )
        if options.profile:
            _profile(benchmark)
        benchmark.close()
    path = result.write(folder)
    path.with_suffix(".svg").write_text(chart.draw(result))
    if options.docs:
        PAGE.write_text(results.put_into(PAGE.read_text(), result))
    print(
        f"\n{result.where()}\n\n{result.tables()}\n\nWritten to {path} and {path.with_suffix('.svg').name}."
    )


def _server_cpu(client: Redis) -> float:
    used = client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def _figure(contender: Contender, taken: Rounds) -> Figure:
    return Figure(
        name=contender.name,
        title=contender.title,
        group=contender.group,
        operations=contender.operations,
        operation=contender.operation,
        rounds=list(taken[contender.name]),
    )


def _command(entry: Entry, options: argparse.Namespace) -> str:
    words = ["script/bench", entry.name]
    if options.quick:
        words.append("--quick")
    words += [f"--{name}={getattr(options, name)}" for name in ("rows", "rounds") if getattr(options, name)]
    return " ".join(words)


def _show_round(number: int) -> None:
    print("warm-up" if number == 0 else f"round {number}", end=" ", flush=True)


def _profile(benchmark: Benchmark) -> None:
    """Show the functions in which warmer's contenders spend their time, in a run of their own."""
    subjects = {comparison.subject for comparison in benchmark.comparisons}
    for contender in benchmark.contenders:
        if contender.name in subjects and contender.title.startswith("warmer"):
            contender.prepare()
            print(f"\n\n{contender.title} ({contender.group}):")
            with _profiled():
                contender.run()


@contextmanager
def _profiled() -> Iterator[None]:
    profile = cProfile.Profile()
    with profile:
        yield
    pstats.Stats(profile).strip_dirs().sort_stats("tottime").print_stats(PROFILED_FUNCTIONS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
