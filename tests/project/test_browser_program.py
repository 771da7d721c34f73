"""Which browser the browser tests use, and what is said when there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.system.browser import program
from tests.system.browser.program import BrowserNotFound, ensure_browser, find_browser


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv(program.VARIABLE, raising=False)
    monkeypatch.setattr(program, "APPLICATIONS", ())
    return folder


def script(place: Path, body: str = "exit 0") -> Path:
    place.write_text(f"#!/bin/sh\n{body}\n")
    place.chmod(0o755)
    return place


def test_find_browser__takes_the_first_on_path_that_runs(path: Path) -> None:
    assert find_browser() is None
    chrome = script(path / "google-chrome")
    script(path / "chromium", "exit 1")
    assert find_browser() == chrome
    assert find_browser() != script(path / "chromium-browser", "exit 1")


def test_find_browser__given(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(path / "chromium")
    given = script(tmp_path / "my-chrome")
    monkeypatch.setenv(program.VARIABLE, str(given))
    assert find_browser() == given
    monkeypatch.setenv(program.VARIABLE, "/nowhere/chrome")
    with pytest.raises(BrowserNotFound, match="WARMER_TEST_BROWSER is '/nowhere/chrome'"):
        ensure_browser()


def test_ensure_browser__has_playwright_download_its_own(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(script(path / "python")))
    assert ensure_browser() is None
    script(path / "python", "echo 'no network' >&2; exit 1")
    with pytest.raises(BrowserNotFound, match=r"apt install chromium.*The download: no network"):
        ensure_browser()
