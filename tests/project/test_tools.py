"""The project's own tools: the plugin that starts the suite's servers, `script/figures`, `script/peers`, `golden`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from embedded.postgres_server import PostgresServer
from embedded.redis_server import RedisServer
from tests import conftest, figures, servers
from tests.figures import Line
from tests.support.processes import ROOT, run


def test_servers__of_their_own_whatever_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    precious = dict.fromkeys(("REDIS_URL", "CELERY_BROKER_URL", "DATABASE_URL", "DJANGO_ENV"), "precious")
    for name, value in precious.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    started = servers.Servers(
        redis=RedisServer(),
        postgres=PostgresServer(),
        database="sqlite",
        folder=TemporaryDirectory(),
        environment=pytest.MonkeyPatch(),
    )
    try:
        servers._start(started)
        assert {name: os.environ[name] for name in precious} == {
            "REDIS_URL": started.redis.url(0),
            "CELERY_BROKER_URL": started.redis.url(1),
            "DATABASE_URL": f"sqlite:///{started.folder.name}/db.sqlite3",
            "DJANGO_ENV": "test",
        }
    finally:
        started.stop()
    assert {name: os.environ[name] for name in precious} == precious


@pytest.mark.parametrize(("database", "variable"), [("sqlite", "REDIS_SERVER"), ("postgresql", "POSTGRES_BIN")])
def test_missing_server__the_run_fails_at_once_and_says_what_to_do(database: str, variable: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", f"--database={database}", __file__]
    done = run(*command, env=environment | {variable: "/nowhere"})
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"{variable} is '/nowhere', where there is no executable" in done.stderr


def test_peers__warmer_wins_the_race_as_the_page_says() -> None:
    done = run(sys.executable, "-m", "tests.races.peers", "warmer")
    assert done.returncode == 0, done.stdout + done.stderr
    _, _, *rows = done.stdout.splitlines()
    assert len(rows) == 2  # by signals, and by triggers
    assert set(rows) <= set((ROOT / "docs/peers.md").read_text().splitlines())


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
    monkeypatch.setattr(pytestconfig.option, "write_golden", True)
    golden("page", "took 3 ms \n", masks={r"\d+ ms": "N ms"})
    assert (tmp_path / "page.txt").read_text() == "took N ms\n"
    monkeypatch.setattr(pytestconfig.option, "write_golden", False)
    golden("page", "took 4 ms\n", masks={r"\d+ ms": "N ms"})
    for name in ("page", "another"):
        with pytest.raises(AssertionError, match="--write-golden"):
            golden(name, "fails")
