"""`script/figures`: the budgets of the layout, beside what they bound."""

import sys

import pytest

from tests import figures
from tests.figures import Line
from tests.support.processes import run


def test_report__shows_the_files_that_each_path_passes_through() -> None:
    done = run(sys.executable, "-m", "tests.figures", seconds=120)
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
