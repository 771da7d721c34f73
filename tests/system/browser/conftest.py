"""Fixtures of the browser tests: a browser, the site, and a page of somebody who is logged in."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from embedded.ports import free_port
from tests.support.processes import SECONDS, running
from tests.system.browser.pages import PASSWORD, WIDE, log_in
from tests.system.browser.program import FLAGS, BrowserNotFound, ensure_browser
from users.models import CustomUser

# A browser on a busy machine: as long as for anything else here.
expect.set_options(timeout=SECONDS * 1000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests; without one they fail, and say how to get it."""
    try:
        program = ensure_browser()
    except BrowserNotFound as error:
        pytest.fail(str(error), pytrace=False)
    with sync_playwright() as playwright, pytest.MonkeyPatch.context() as patch:
        # Playwright's loop runs in this thread, which Django's ORM takes for asynchronous code.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        launched = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture
def site(environment: Mapping[str, str], tmp_path: Path) -> Iterator[str]:
    """The address of the site, served by a process of its own."""
    place = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "manage.py", "runserver", "--noreload", "--insecure", place]
    ready = "Quit the server with CONTROL-C."
    with running(*command, log=tmp_path / "site.log", env=os.environ | environment, ready=ready):
        yield f"http://{place}"


@pytest.fixture
def open_page(browser: Browser, site: str) -> Iterator[Callable[..., Page]]:
    """Return a function that logs a member of the staff in, and returns a page of their browser."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        # The status of an answer that a test asks for is no error of the page.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            errors.append(message.text)

    def open_page(*permissions: str, name: str = "olga", width: int = WIDE, scripts: bool = True) -> Page:
        user = CustomUser.objects.create_user(name, f"{name}@example.org", PASSWORD, is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        context = browser.new_context(
            base_url=site, viewport={"width": width, "height": 900}, java_script_enabled=scripts
        )
        contexts.append(context)
        context.set_default_timeout(SECONDS * 1000)
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto("/admin/login/?next=/admin/warmer/")
        log_in(page, name)
        return page

    yield open_page
    for context in contexts:
        context.close()
