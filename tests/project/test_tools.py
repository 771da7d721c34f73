"""The suite's own tools: `script/figures` and the fixture `golden`."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import conftest, figures
from tests.figures import Line
from tests.support.processes import run


def test_report__shows_the_files_that_each_path_passes_through() -> None:
    done = run(sys.executable, "-m", "tests.figures")
    assert done.returncode == 0, done.stdout + done.stderr
    _, _, on_paths = done.stdout.partition("files on a path")
    assert on_paths.count("    stores/redis") >= 4
    for path in ("a read that hits", "a read that misses", "job.warm()", "a save in atomic"):
        assert path in on_paths


@pytest.mark.parametrize(("arguments", "lines", "code"), [([], 2, 0), (["--check"], 2, 1), (["--check"], 1, 0)])
def test_check__fails_when_a_budget_is_exceeded(
    arguments: list[str], lines: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "sizes", lambda: [Line("a wing", lines, 1)])
    monkeypatch.setattr(figures, "layout", list)
    monkeypatch.setattr(figures, "paths", list)
    assert figures.main(arguments) == code


def test_golden__compares_masks_and_rewrites(
    golden: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    monkeypatch.setattr(conftest, "GOLDEN", tmp_path)
    monkeypatch.setattr(pytestconfig.option, "write_golden", False)
    with pytest.raises(AssertionError, match="--write-golden"):
        golden("page", "took 3 ms \n")
    monkeypatch.setattr(pytestconfig.option, "write_golden", True)
    golden("page", "took 3 ms \n", masks={r"\d+ ms": "N ms"})
    assert (tmp_path / "page.txt").read_text() == "took N ms\n"
    monkeypatch.setattr(pytestconfig.option, "write_golden", False)
    golden("page", "took 4 ms\n", masks={r"\d+ ms": "N ms"})
    with pytest.raises(AssertionError, match="--write-golden"):
        golden("page", "fails")
