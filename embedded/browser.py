"""Find a Chromium for the tests of the admin's pages and for their screenshots, or download one.

    python -m embedded.browser            print which is used

No package on PyPI has one in its wheel, so where none is installed Playwright's own is downloaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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
    "No Chromium was found, and none could be downloaded. Install one (Debian: `apt install chromium`, "
    "Ubuntu: `snap install chromium`, macOS: `brew install --cask google-chrome`), or set "
    f"{VARIABLE} to the path of a Chromium or Chrome."
)


class BrowserNotFound(EmbeddedError):
    """There is no browser that runs."""


def find_browser(given: str | None = None) -> Path:
    """Return the browser to use: the one that is given, one on PATH, or one that Playwright downloaded.

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


def ensure_browser() -> Path:
    """Return the browser to use; where there is none, have Playwright download it.

    Raises:
        BrowserNotFound: that did not work either.
    """
    try:
        return find_browser()
    except BrowserNotFound:
        if os.environ.get(VARIABLE):
            raise
    download = [sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"]
    done = subprocess.run(download, capture_output=True, text=True, check=False)
    try:
        return find_browser()
    except BrowserNotFound as error:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it needs libraries that are not here"]
        raise BrowserNotFound(f"{error} (The download: {said[0]})") from None


def _candidates() -> Iterable[Path]:
    for name in (*NAMES, *APPLICATIONS):
        if path := shutil.which(name):
            yield Path(path)
    for cache in (Path.home() / ".cache/ms-playwright", Path.home() / "Library/Caches/ms-playwright"):
        for pattern in (
            "chromium_headless_shell-*/*/*headless*shell",
            "chromium-*/chrome-linux*/chrome",
            "chromium-*/chrome-mac*/*.app/Contents/MacOS/*",
        ):
            yield from sorted(cache.glob(pattern), reverse=True)


def _runs(path: Path) -> bool:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


if __name__ == "__main__":
    try:
        print(ensure_browser())
    except BrowserNotFound as problem:
        sys.exit(str(problem))
