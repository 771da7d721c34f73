"""Which browser is used, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedded import browser
from embedded.browser import BrowserNotFound, ensure_browser, find_browser


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, and an empty home."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv(browser.VARIABLE, raising=False)
    monkeypatch.setattr(browser, "APPLICATIONS", ())
    return folder


def program(place: Path, *, status: int = 0) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"#!/bin/sh\nexit {status}\n")
    place.chmod(0o755)
    return place


def test_find_browser__on_path_by_its_usual_names(path: Path) -> None:
    chrome = program(path / "google-chrome")
    assert find_browser() == chrome
    chromium = program(path / "chromium")
    assert find_browser() == chromium


def test_find_browser__one_that_does_not_run_is_passed_over(path: Path) -> None:
    program(path / "chromium", status=1)
    chrome = program(path / "google-chrome")
    assert find_browser() == chrome


def test_find_browser__given(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(path / "chromium")
    given = program(tmp_path / "my-chrome")
    monkeypatch.setenv(browser.VARIABLE, str(given))
    assert find_browser() == given


def test_find_browser__given_but_not_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(path / "chromium")
    monkeypatch.setenv(browser.VARIABLE, "/nowhere/chrome")
    for find in (find_browser, ensure_browser):
        with pytest.raises(BrowserNotFound, match="WARMER_TEST_BROWSER is '/nowhere/chrome'"):
            find()


def test_find_browser__downloaded_by_playwright(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "home/.cache/ms-playwright/chromium_headless_shell-1255"
    shell = program(folder / "chrome-headless-shell-linux64/chrome-headless-shell")
    assert find_browser() == shell


def test_find_browser__none_says_how_to_get_one(path: Path) -> None:
    with pytest.raises(BrowserNotFound, match="apt install chromium"):
        find_browser()


def test_ensure_browser__download_that_fails_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = program(path / "python")
    python.write_text("#!/bin/sh\necho 'no network' >&2\nexit 1\n")
    monkeypatch.setattr(browser.sys, "executable", str(python))
    with pytest.raises(BrowserNotFound, match=r"apt install chromium.*The download: no network"):
        ensure_browser()


def test_ensure_browser__downloads_what_is_missing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = path / "python"
    folder = "$HOME/.cache/ms-playwright/chromium_headless_shell-1/linux"
    python.write_text(f'#!/bin/sh\n/bin/mkdir -p "{folder}"\n/bin/cp /bin/echo "{folder}/headless_shell"\n')
    python.chmod(0o755)
    monkeypatch.setattr(browser.sys, "executable", str(python))
    assert ensure_browser().name == "headless_shell"
