"""The benchmarks: each runs to its end at a tiny size, and the pages show what the full ones measured."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import results
from bench.__main__ import BENCHMARKS
from bench.measure import MeasuredRow, Row, Table, compare, measure
from bench.results import Result
from tests.support.processes import ROOT, run

PAGE = ROOT / "docs" / "performance.md"


def bench(*arguments: object) -> str:
    done = run(sys.executable, "-m", "bench", *arguments, seconds=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark__tiny__runs_to_its_end_and_writes_its_result(name: str, tmp_path: Path) -> None:
    # Inserts 800 for each; whole tests; readers; only the largest size.
    rows = {"save": 2, "suite": 1, "herd": 20, "scale": 1}.get(name, 110)
    said = bench(name, "--rows", rows, "--rounds", 1, "--results", tmp_path)
    result = Result.read(tmp_path / f"{name}.json")
    assert result.markdown() in said
    assert (result.benchmark, result.rows, result.rounds) == (name, rows, 1)
    for software in ("Python", "Django", "redis-py", "django-redis", *BENCHMARKS[name].peers):
        assert f", {software} " in result.where
    if name == "save":
        assert "synchronous=full" in result.where
        assert "fsync=on, synchronous_commit=on" in result.where
    found = {row.title: row for table in result.tables for row in table.rows}
    assert all(len(row.rounds) == 1 and row.time > 0 for row in found.values())
    assert any(row.versus for row in found.values()) or name == "scale"
    if name == "herd":
        calls = {title: row.counts["loader calls"] for title, row in found.items()}
        assert calls.pop("warmer: job.get()") == calls.pop("the load alone, one reader") == 1
        assert min(calls.values()) > 1
    assert ElementTree.parse(tmp_path / f"{name}.svg").getroot().tag.endswith("svg")


def test_measure__rows_take_turns__and_the_warm_up_does_not_count() -> None:
    happened: list[str] = []
    used = iter(range(0, 100_000, 1_000))

    def row(name: str) -> Row:
        def verify(returned: str) -> dict[str, float]:
            happened.append(f"verify {returned}")
            return {"calls": len(happened)}

        return Row(
            title=name,
            prepare=lambda: happened.append(f"prepare {name}"),
            run=lambda: happened.append(f"run {name}") or name,  # type: ignore[func-returns-value]
            operations=2,
            verify=verify,
            cpu=lambda: next(used),
        )

    tables = [Table(title=name, operation="", rows=[row(name)]) for name in "ab"]
    taken = [row for table in measure(tables, rounds=2, server_cpu=float) for row in table.rows]
    assert happened == [f"{what} {name}" for name in "ab" for what in ("prepare", "run", "verify")] * 3
    assert {row.title: row.values("calls") for row in taken} == {"a": [9, 15], "b": [12, 18]}
    assert all(500 <= each.cpu_seconds < 501 for row in taken for each in row.rounds)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_documentation__says_what_was_measured(name: str) -> None:
    page = PAGE.read_text()
    result = Result.read(ROOT / "bench" / "results" / f"{name}.json")
    assert results.put_into(page, result) == page
    assert (ROOT / "bench" / "results" / f"{name}.svg").read_text() == results.draw(result)
    assert f"../bench/results/{name}.svg" in page


def test_readme__says_what_was_measured() -> None:
    def tables(name: str) -> dict[str, Table[MeasuredRow]]:
        result = Result.read(ROOT / "bench" / "results" / f"{name}.json")
        return {table.title: table for table in result.tables}

    def ratios(table: Table[MeasuredRow], title: str) -> list[float]:
        row = next(row for row in table.rows if row.title.startswith(title))
        return [compare(table, row, versus).value for versus in row.versus]

    plain = tables("warm")["a plain profile: five short columns"]
    rate = 1 / next(row.time for row in plain.rows if row.title == "warmer: job.warm()")
    loop, objects, values, limit = ratios(plain, "warmer")
    reading = ratios(tables("read")["one profile"], "warmer: job.get(id), cached")[0]
    saving = ratios(tables("save")["PostgreSQL, in atomic, a transaction each"], "warmer: triggers")[0]
    readme = (ROOT / "README.md").read_text()
    for cell in (
        f"| {loop:.1f} times as fast, with the fence: {rate / 1000:.0f},000 a second |",
        f"| {objects:.1f} / {values:.1f} times as fast |",
        f"| {limit:.2f} times its speed |",
        f"against plain `cache.get` | {reading:.1f} times its time |",
        f"one `cache.delete` | {saving:.1f} times its time |",
    ):
        assert cell in readme
