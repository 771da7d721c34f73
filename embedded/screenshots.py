"""Take a picture of each of the admin's pages: wide and narrow, light and dark.

    python -m embedded.screenshots [FOLDER]      default: docs/images

Starts the site with all it needs, as `script/server` does, in a folder of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page, sync_playwright

from embedded.browser import FLAGS, ensure_browser
from embedded.errors import EmbeddedError
from embedded.plan import ROOT
from embedded.ports import free_port
from embedded.processes import remove_folder, temporary_folder
from embedded.waiting import wait_until

USUAL_FOLDER = ROOT / "docs" / "images"
WIDTHS = {"wide": 1280, "narrow": 390}
HEIGHT = 800
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PASSWORD = "only-for-the-screenshots"  # noqa: S105
START_SECONDS = 180
# It would lead the site to servers and rows of somebody else.
NOT_INHERITED = ("REDIS_URL", "CELERY_BROKER_URL", "DATABASE_URL", "HOST")


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A page to take.

    Attributes:
        path: its address, from `/admin/warmer/` on.
        click: what to click on it first, one after the other.
    """

    name: str
    path: str
    click: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Site:
    """The site that is served, and the environment of its commands."""

    address: str
    environment: dict[str, str]

    def shell(self, code: str) -> str:
        """Execute code in a process of the site; return what it prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", "shell", "--no-imports", "-c", code],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise EmbeddedError(f"The scene could not be set: {done.stderr}")
        return done.stdout


def main(arguments: list[str]) -> int:
    """Take all pictures; return the exit code."""
    folder = Path(arguments[0]) if arguments else USUAL_FOLDER
    try:
        browser = ensure_browser()
        with served() as site:
            site.shell("from embedded.scene import main; main()")
            take(site, browser, folder)
    except (EmbeddedError, TimeoutError) as error:
        print(f"script/screenshots: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def served() -> Iterator[Site]:
    """Serve the site with all it needs; its schedule does not run into the pictures."""
    data = temporary_folder("warmer-screenshots-")
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if name not in NOT_INHERITED},
        "DJANGO_ENV": "development",
        "WARMER_DATA_DIR": str(data),
        "PORT": str(port),
        "ADMIN_USERNAME": "admin",
        "ADMIN_PASSWORD": PASSWORD,
    }
    log = data / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "embedded.serve"], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        _wait_until_up(process, log)
        yield Site(address=f"http://127.0.0.1:{port}", environment=environment)
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()
        remove_folder(data)


def _wait_until_up(process: subprocess.Popen[bytes], log: Path) -> None:
    def is_up() -> bool:
        said = log.read_text(errors="replace")
        if process.poll() is not None:
            raise EmbeddedError(f"The site ended before it was up:\n{said}")
        return "Ctrl-C stops all of it" in said

    wait_until(is_up, seconds=START_SECONDS, what="the site is up")


def take(site: Site, browser: Path, folder: Path) -> None:
    """Take every page in every width and scheme."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=list(FLAGS))
        for width_name, width in WIDTHS.items():
            context = chromium.new_context(viewport={"width": width, "height": HEIGHT})
            page = context.new_page()
            _log_in(page, site)
            for shot in _shots(site, page):
                for scheme in SCHEMES:
                    page.emulate_media(color_scheme=scheme)
                    page.goto(site.address + "/admin/warmer/" + shot.path)
                    for selector in shot.click:
                        page.click(selector)
                    page.evaluate("window.scrollTo(0, 0)")
                    target = folder / f"{shot.name}-{width_name}-{scheme}.png"
                    page.screenshot(path=target, full_page=True)
                    print(f"{target.name}: {target.stat().st_size // 1024} KiB")
            context.close()
        chromium.close()


def _log_in(page: Page, site: Site) -> None:
    page.goto(site.address + "/admin/")
    page.fill("#id_username", "admin")
    page.fill("#id_password", PASSWORD)
    page.click("input[type=submit]")
    page.wait_for_url("**/admin/")


def _shots(site: Site, page: Page) -> list[Shot]:
    numbers = json.loads(
        site.shell(
            "import json; from warmer.models import *\n"
            "print(json.dumps({r.state: r.pk for r in WarmingRun.objects.filter(trigger='admin')}"
            " | {'audit': CacheAudit.objects.get(job='user_profiles').pk}))"
        )
    )
    return [
        Shot(name="overview", path=""),
        Shot(
            name="confirm",
            path="",
            click=("tr:has-text('user_profiles') summary", "button[aria-label='Invalidate user_profiles']"),
        ),
        Shot(name="job", path="job/user_profiles/schedule/"),
        Shot(name="run-running", path=f"warmingrun/{numbers['running']}/change/"),
        Shot(
            name="run-ended",
            path=f"warmingrun/{numbers['incomplete']}/change/",
            click=("summary:text-is('Each batch')",),
        ),
        Shot(name="runs", path="warmingrun/?job=user_profiles"),
        Shot(name="audits", path="cacheaudit/"),
        Shot(name="audit", path=f"cacheaudit/{numbers['audit']}/change/"),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
