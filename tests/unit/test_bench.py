"""The benchmarks: each runs to its end at a tiny size; their arithmetic, charts and documentation."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import chart, results
from bench.catalogue import CATALOGUE
from bench.measure import Comparison, Contender, Round, compare, measure
from bench.results import Figure, Result

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "performance.md"


def bench(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def result_of(**seconds: list[float]) -> Result:
    return Result(
        benchmark="race",
        summary="A race: us against them",
        command="script/bench race",
        measured="2026-01-02T03:04:05+00:00",
        machine={"cpu": "Some <CPU>", "cores": 2, "load": 0.5},
        versions={"Python": "3.11", "server": "Valkey 9"},
        rows=10,
        rounds=len(next(iter(seconds.values()))),
        operation="step",
        shows="time",
        figures=[
            Figure(
                name=name,
                title=f"warmer: {name}" if name == "us" else name,
                group="",
                operations=10,
                rounds=[Round(seconds=each, cpu_seconds=each / 2) for each in taken],
            )
            for name, taken in seconds.items()
        ],
        ratios=[],
    )


@pytest.mark.parametrize("name", CATALOGUE)
def test_benchmark__tiny__runs_to_its_end_and_writes_its_result(name: str, tmp_path: Path) -> None:
    rows = 20 if name == "save" else 110  # it inserts 800 for each
    said = bench(name, "--rows", rows, "--rounds", 2, "--results", tmp_path)
    result = Result.read(tmp_path / f"{name}.json")
    assert result.tables() in said
    assert (result.benchmark, result.rows, result.rounds) == (name, rows, 2)
    assert result.machine["cpu"]
    versions = {"Python", "Django", "redis-py", "django-redis", "server", *CATALOGUE[name].peers}
    assert versions <= result.versions.keys()
    if CATALOGUE[name].database == "both":
        assert "synchronous=full" in result.versions["SQLite"]
        assert "fsync=on, synchronous_commit=on" in result.versions["PostgreSQL"]
    assert all(len(figure.rounds) == 2 and figure.time > 0 for figure in result.figures)
    assert result.ratios
    assert all(ratio.lowest <= ratio.highest for ratio in result.ratios)
    figures = {figure.name: figure for figure in result.figures}
    for ratio in result.ratios:
        if ratio.of:
            assert ratio.of in figures[ratio.subject].counts
            assert ratio.of in figures[ratio.against].counts
        of_time = ratio.of is None and ratio.kind != "difference"
        assert (ratio.cpu_ratio > 0) if of_time else (ratio.cpu_ratio is None)
    assert ElementTree.parse(tmp_path / f"{name}.svg").getroot().tag.endswith("svg")


def test_herd__loads_once_where_others_load_for_each_reader(tmp_path: Path) -> None:
    bench("herd", "--rows", 40, "--rounds", 1, "--results", tmp_path)
    figures = {figure.name: figure for figure in Result.read(tmp_path / "herd.json").figures}
    assert figures["warmer"].counts == {"loader calls": 1}
    assert figures["get_or_set"].counts["loader calls"] > 1
    assert figures["cacheback"].counts["loader calls"] > 1


def test_list__names_every_benchmark() -> None:
    assert [line.split()[0] for line in bench("--list").splitlines()] == list(CATALOGUE)


def test_unknown_name__is_refused_with_the_names_that_there_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "walk"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "warm" in done.stderr


def test_measure__contenders_take_turns__and_the_warm_up_does_not_count() -> None:
    happened: list[str] = []

    def contender(name: str) -> Contender:
        return Contender(
            name=name,
            title=name,
            operations=1,
            prepare=lambda: happened.append(f"prepare {name}"),
            run=lambda: happened.append(f"run {name}"),
            verify=lambda: happened.append(f"verify {name}"),
        )

    taken = measure(
        [contender("a"), contender("b")], rounds=2, server_cpu=lambda: 0.0, progress=lambda number: None
    )
    once = [f"{what} {name}" for name in "ab" for what in ("prepare", "run", "verify")]
    assert happened == once * 3
    assert {name: len(rounds) for name, rounds in taken.items()} == {"a": 2, "b": 2}


def test_measure__counts_after_the_check__and_the_time_of_other_processes() -> None:
    happened: list[str] = []
    used = iter(range(100))
    contender = Contender(
        name="a",
        title="a",
        operations=1,
        run=lambda: happened.append("run"),
        verify=lambda: happened.append("verify"),
        count=lambda: happened.append("count") or {"calls": len(happened)},  # type: ignore[func-returns-value]
        other_cpu=lambda: 1000 * next(used),
    )
    (taken,) = measure([contender], rounds=1, server_cpu=lambda: 0.0, progress=lambda number: None)["a"]
    assert happened == ["run", "verify", "count"] * 2
    assert taken.counts == {"calls": 6}
    assert 1000 <= taken.cpu_seconds < 1001


def test_compare__of_counts_is_as_they_are__whatever_the_operations() -> None:
    contenders = [
        Contender(name=name, title=name, run=lambda: None, operations=operations)
        for name, operations in (("us", 10), ("them", 20))
    ]
    taken = {
        "us": [Round(seconds=1, cpu_seconds=1, counts={"calls": each}) for each in (1, 1, 2)],
        "them": [Round(seconds=1, cpu_seconds=1, counts={"calls": each}) for each in (4, 5, 6)],
    }
    found = compare(
        Comparison(subject="us", against="them", kind="cost", target=0.2, of="calls"), contenders, taken
    )
    assert [found.ratio, found.lowest, found.highest] == pytest.approx([1 / 5, 1 / 5, 1 / 3])
    assert (found.cpu_ratio, found.met, found.of) == (None, True, "calls")


@pytest.mark.parametrize(
    ("kind", "target", "ratio", "lowest", "highest", "met"),
    [("speed", 3.0, 5.0, 1.0, 10.0, True), ("cost", 0.1, 0.2, 0.1, 1.0, False)],
)
def test_compare__is_the_ratio_of_the_medians_with_that_of_the_pairs(
    kind: str, target: float, ratio: float, lowest: float, highest: float, met: bool
) -> None:
    contenders = [
        Contender(name=name, title=name, run=lambda: None, operations=operations)
        for name, operations in (("us", 10), ("them", 20))
    ]
    taken = {
        "us": [Round(seconds=each, cpu_seconds=1) for each in (1, 2, 10)],
        "them": [Round(seconds=each, cpu_seconds=4) for each in (20, 16, 20)],
    }
    comparison = Comparison(subject="us", against="them", kind=kind, target=target)  # type: ignore[arg-type]
    found = compare(comparison, contenders, taken)
    assert [found.ratio, found.lowest, found.highest] == pytest.approx([ratio, lowest, highest])
    assert found.cpu_ratio == pytest.approx(2.0 if kind == "speed" else 0.5)
    assert found.met is met


def test_result__is_read_as_it_was_written(tmp_path: Path) -> None:
    result = result_of(us=[0.1, 0.2], them=[1.0, 2.0])
    assert Result.read(result.write(tmp_path)) == result


def test_tables__show_what_was_counted() -> None:
    result = result_of(us=[0.1], them=[1.0])
    counted = [
        replace(figure, rounds=[replace(each, counts={"calls": 1234.5}) for each in figure.rounds])
        for figure in result.figures
    ]
    contenders = [Contender(name=name, title=name, run=lambda: None, operations=1) for name in ("us", "them")]
    ratio = compare(
        Comparison(subject="us", against="them", kind="cost", target=1.0, of="calls"),
        contenders,
        {figure.name: figure.rounds for figure in counted},
    )
    lines = replace(result, figures=counted, ratios=[ratio]).tables().splitlines()
    assert lines[0].endswith("| processor time of one | calls |")
    assert lines[1].count("---") == 5
    assert lines[2].endswith(" | 1,234 |")
    assert lines[-1] == "| warmer: us | 1.00 times the calls of | them | 1.00 to 1.00 |  | ≤ 1: met |"


def test_tables_and_chart__a_group_may_have_an_operation_of_its_own() -> None:
    result = result_of(us=[0.1], them=[1.0])
    ours, theirs = result.figures
    result = replace(result, figures=[replace(ours, group="mine", operation="row"), theirs])
    heads = [line for line in result.tables().splitlines() if "processor time" in line]
    assert [head.split(" | ")[:2] for head in heads] == [
        ["| mine", "time of a row"],
        ["| step", "time of a step"],
    ]
    assert "Time of a row or step: shorter is better." in chart.draw(result)


def test_chart__names_every_contender_and_marks_ours() -> None:
    svg = chart.draw(result_of(us=[0.1, 0.2], them=[1.0, 2.0]))
    root = ElementTree.fromstring(svg)
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "warmer: us" in texts
    assert "them" in texts
    assert any("Some <CPU>" in (text or "") for text in texts)
    assert svg.count('class="bar ours"') == 1
    assert "prefers-color-scheme: dark" in svg


def test_chart__writes_the_first_count_beside_the_value() -> None:
    result = result_of(us=[0.1])
    (figure,) = result.figures
    counted = replace(figure, rounds=[replace(figure.rounds[0], counts={"calls": 1234.0, "bytes": 5.0})])
    svg = chart.draw(replace(result, figures=[counted], unit="readers"))
    assert ">10.00 ms, calls: 1,234</text>" in svg
    assert "rounds of 10 readers;" in svg


def test_put_into__replaces_what_is_between_the_marks() -> None:
    page = "before\n<!-- race: begin -->\nold\n<!-- race: end -->\nafter\n"
    done = results.put_into(page, result_of(us=[0.1], them=[1.0]))
    assert done.startswith("before\n<!-- race: begin -->\n`script/bench race`\n")
    assert "| them | 100.00 ms |" in done
    assert "old" not in done
    assert done.endswith("\n<!-- race: end -->\nafter\n")
    with pytest.raises(ValueError, match="has no <!-- race: begin"):
        results.put_into("nothing", result_of(us=[0.1]))


@pytest.mark.parametrize("name", CATALOGUE)
def test_documentation__says_what_was_measured(name: str) -> None:
    page = PAGE.read_text()
    result = Result.read(ROOT / "bench" / "results" / f"{name}.json")
    assert results.put_into(page, result) == page
    assert (ROOT / "bench" / "results" / f"{name}.svg").read_text() == chart.draw(result)
    assert f"../bench/results/{name}.svg" in page


def test_readme__says_what_was_measured() -> None:
    results = {name: Result.read(ROOT / "bench" / "results" / f"{name}.json") for name in CATALOGUE}
    ratios = {
        (name, ratio.subject, ratio.against): ratio.ratio
        for name, result in results.items()
        for ratio in result.ratios
    }
    rate = 1 / next(each.time for each in results["warm"].figures if each.name == "warmer_plain")
    loop, objects, values, limit = (
        ratios["warm", "warmer_plain", f"{other}_plain"] for other in ("loop", "objects", "values", "limit")
    )
    saving = ratios["save", "triggers_atomic_postgresql", "handler_atomic_postgresql"]
    readme = (ROOT / "README.md").read_text()
    for cell in (
        f"| {loop:.1f} times as fast, fence on: {rate / 1000:.0f},000 a second |",
        f"| {objects:.1f} / {values:.1f} times as fast |",
        f"| {limit:.2f} times its speed |",
        f"against plain `cache.get` | {ratios['read', 'get', 'cache_get']:.1f} times its time |",
        f"one `cache.delete` | {saving:.1f} times its time |",
    ):
        assert cell in readme
