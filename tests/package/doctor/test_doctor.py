"""The doctor's checks as a whole: each is run and documented, and one that breaks leaves the others alone."""

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError

from tests.package.doctor.support import PAGE
from tests.support.fixtures import Python
from warmer.doctor.check import Check, Finding, error, info, ok, project_check, warning
from warmer.doctor.diagnosis import CHECKS, diagnose
from warmer.doctor.project import NotApplicable, Project
from warmer.exceptions import CommandRefused, StoreUnavailable
from warmer.stores import Place


# -- the catalogue and the docs --------------------------------------------------------------------
def test_checks__are_complete_and_in_order() -> None:
    modules = (module for name, module in sys.modules.items() if name.startswith("warmer.doctor.checks."))
    assert {id(each) for module in modules for each in vars(module).values() if isinstance(each, Check)} == {
        id(check) for check in CHECKS
    }
    in_report = sorted(CHECKS, key=lambda check: not check.of_cache)  # those of each cache, then the project's
    assert re.findall(r"^### `([\w-]+)`", PAGE, flags=re.M) == [check.id for check in in_report]
    for number, check in enumerate(CHECKS):
        assert set(check.after) <= {each.id for each in CHECKS[:number] if each.of_cache == check.of_cache}, check.id


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_docs__have_the_severities_and_fixes_of_each(check: Check) -> None:
    part = PAGE.split(f"### `{check.id}`\n")[1].split("\n##")[0]
    text, _, table = part.partition("\n\n|")
    assert text.endswith(".")
    rows = [row for row in table.splitlines() if not row.lstrip("| ").startswith(("---", "severity"))]
    assert rows
    for row in rows:
        severity, *cells = (cell.strip() for cell in row.strip("|").split(" | "))
        assert severity in ("error", "warning", "info"), row
        assert (len(cells), all(cells)) == (2, True), row


# -- a diagnosis -----------------------------------------------------------------------------------
def check_that_finds(*found: Finding | Exception, after: tuple[str, ...] = ()) -> Check:
    @project_check(after=after)
    def first(project: Project) -> Iterator[Finding]:
        """All is well."""
        for each in found:
            if isinstance(each, Exception):
                raise each
            yield each

    return first


def found_by(*checks: Check) -> list[tuple[str, str]]:
    """Return the severity and the message of each finding."""
    found = diagnose(Project(), checks=checks)
    return [(each.severity.value, each.message) for each in found]


@pytest.mark.parametrize(
    ("found", "severity", "message"),
    [
        ((), "ok", "All is well."),
        ((NotApplicable("there is none"),), "skipped", "there is none"),
        ((CommandRefused("not allowed"),), "info", "not allowed."),
        ((StoreUnavailable("away"),), "failed", "The check itself failed: away."),
        ((OperationalError("away"),), "failed", "The check itself failed: OperationalError: away."),
        ((ok("fine"), ValueError("broken")), "failed", "The check itself failed: ValueError: broken."),
    ],
)
def test_diagnose__every_outcome(found: Any, severity: str, message: str) -> None:
    findings = found_by(check_that_finds(*found))
    assert findings[-1] == (severity, message)
    assert len(findings) == max(1, len(found))


@pytest.mark.parametrize(
    ("found", "runs"),
    [
        (ok("a"), True),
        (info("a", why="b"), True),
        (warning("a", why="b", fix="c"), True),
        (error("a", why="b", fix="c"), False),
        (ValueError("broken"), False),
    ],
)
def test_diagnose__what_needs_a_failed_check_is_skipped(found: Any, runs: bool) -> None:
    last = found_by(check_that_finds(found), check_that_finds(after=("first",)))[-1]
    assert last == (("ok", "All is well.") if runs else ("skipped", "first failed"))


# -- texts -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("place", "cli"),
    [
        (Place(text="x", host="cache.example.org", port=6379), "redis-cli -h cache.example.org -p 6379"),
        (Place(text="x", path="/run/redis.sock"), "redis-cli -s /run/redis.sock"),
        (
            Place(text="x", host="h", port=1, tls=True, username="app", has_password=True),
            "redis-cli -h h -p 1 --tls --user app --askpass",
        ),
        (Place(text="x", service="mymaster"), "redis-cli -h HOST-OF-THE-MASTER"),
    ],
)
def test_redis_cli__logs_in_as_the_settings_do(place: Place, cli: str) -> None:
    assert place.redis_cli == cli


# -- without the libraries -------------------------------------------------------------------------
ABSENT = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *args: None if name.partition(".")[0] == {!r} else find(name, *args)
"""


@pytest.mark.parametrize(("missing", "package"), [("django_redis", "django-redis"), ("redis", "redis")])
def test_command__without_a_library_that_the_settings_name(python: Python, missing: str, package: str) -> None:
    done = python(
        f"{ABSENT.format(missing)}\n"
        "from django.core.management import execute_from_command_line\n"
        "execute_from_command_line(['manage.py', 'cache_doctor'])",
        DJANGO_SETTINGS_MODULE="config.settings",
        REDIS_URL="redis://127.0.0.1:1/0",
        CELERY_BROKER_URL="memory://",
    )
    assert done.returncode == 1, done.stderr
    assert f"fix  pip install {package}\n" in done.stdout
    assert "Traceback" not in done.stderr
