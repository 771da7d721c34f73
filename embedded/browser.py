"""Find a Chromium for the tests of the admin's pages and for their screenshots."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from embedded.errors import EmbeddedError

VARIABLE = "WARMER_TEST_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Where macOS keeps it, which has it on no PATH.
APPLICATIONS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
# No sandbox: in many containers and for root Chromium does not start with it; it sees our own pages only.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
MISSING = (
    "No Chromium was found. Install one (Debian: `apt install chromium`, Ubuntu: `apt install "
    "chromium-browser`, macOS: `brew install --cask google-chrome`, anywhere that a download is possible: "
    f"`.venv/bin/playwright install chromium`), or set {VARIABLE} to the path of a Chromium or Chrome."
)


class BrowserNotFound(EmbeddedError):
    """There is no browser that runs."""


def find_browser(given: str | None = None) -> Path:
    """Return the browser to use: the one that is given, one on PATH, or Playwright's own download.

    Args:
        given: a path; default what `WARMER_TEST_BROWSER` holds.

    Raises:
        BrowserNotFound: there is none that runs; the message says how to get one.
    """
    if given is None:
        given = os.environ.get(VARIABLE, "")
    if given:
        if path := shutil.which(given):
            return Path(path)
        raise BrowserNotFound(
            f"{VARIABLE} is {given!r}, which is not a program that runs. Set it to the path of a Chromium, "
            "or unset it."
        )
    for candidate in _candidates():
        if _runs(candidate):
            return candidate
    raise BrowserNotFound(MISSING)


def _candidates() -> Iterable[Path]:
    for name in (*NAMES, *APPLICATIONS):
        if path := shutil.which(name):
            yield Path(path)
    for cache in (Path.home() / ".cache/ms-playwright", Path.home() / "Library/Caches/ms-playwright"):
        yield from sorted(cache.glob("chromium-*/chrome-linux*/chrome"), reverse=True)
        yield from sorted(cache.glob("chromium-*/chrome-mac*/*.app/Contents/MacOS/*"), reverse=True)


def _runs(path: Path) -> bool:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
