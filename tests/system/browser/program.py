"""Find a Chromium for the browser tests and the screenshots, or have Playwright download its own.

No package on PyPI has one in its wheel.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

VARIABLE = "WARMER_TEST_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Where macOS keeps it, which has it on no PATH.
APPLICATIONS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
# No sandbox: in many containers and for root Chromium does not start with it. It sees our own pages only.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


class BrowserNotFound(Exception):
    """There is no browser that runs."""


def find_browser() -> Path | None:
    """Return the browser in `WARMER_TEST_BROWSER`, or else an installed one, or None."""
    if given := os.environ.get(VARIABLE, ""):
        if path := shutil.which(given):
            return Path(path)
        raise BrowserNotFound(
            f"{VARIABLE} is {given!r}, which is not a program that runs. Set it to the path of a Chromium, or unset it."
        )
    for name in (*NAMES, *APPLICATIONS):
        # A program on PATH says little: Ubuntu's `chromium-browser` only asks to install a snap.
        if (path := shutil.which(name)) and _runs(path):
            return Path(path)
    return None


def ensure_browser() -> Path | None:
    """Return the browser to use; None for Playwright's own, downloaded if it is not there yet."""
    if found := find_browser():
        return found
    download = [sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"]
    done = subprocess.run(download, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BrowserNotFound(
            "No Chromium was found, and none could be downloaded. Install one (Debian: `apt install "
            "chromium`, Ubuntu: `snap install chromium`, macOS: `brew install --cask google-chrome`), or set "
            f"{VARIABLE} to the path of a Chromium or Chrome. The download: {done.stderr or done.stdout}"
        )
    return None


def _runs(path: str) -> bool:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
