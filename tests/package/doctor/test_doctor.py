"""The doctor's checks as a whole: each is run and documented, and one that breaks leaves the others alone."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from tests.support.fixtures import Python
from warmer.doctor.check import CacheCheck, Finding, ProjectCheck, error, info, ok, warning
from warmer.doctor.diagnosis import CACHE_CHECKS, PROJECT_CHECKS, diagnose
from warmer.doctor.project import NotApplicable, Project
from warmer.exceptions import CommandRefused, StoreUnavailable
from warmer.stores.inspection import Place

PAGE = (Path(__file__).resolve().parents[3] / "docs/doctor.md").read_text()
CHECKS = (*CACHE_CHECKS, *PROJECT_CHECKS)


# -- the catalogue and the docs --------------------------------------------------------------------
def test_checks__are_complete_and_in_order() -> None:
    # Those of this project, not of other tests.
    classes = {
        each
        for each in (*CacheCheck.__subclasses__(), *ProjectCheck.__subclasses__())
        if each.__module__.startswith("warmer.")
    }
    assert classes == {type(check) for check in CHECKS}
    assert re.findall(r"^### `([\w-]+)`", PAGE, flags=re.M) == [check.id for check in CHECKS]
    for checks in (CACHE_CHECKS, PROJECT_CHECKS):
        for number, check in enumerate(checks):
            assert set(check.after) <= {each.id for each in checks[:number]}, check.id  # type: ignore[index]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_docs__have_the_severities_and_fixes_of_each(check: CacheCheck | ProjectCheck) -> None:
    part = PAGE.split(f"### `{check.id}`\n")[1].split("\n##")[0]
    text, _, table = part.partition("\n\n|")
    assert text.endswith(".")
    rows = [row for row in table.splitlines() if not row.lstrip("| ").startswith(("---", "severity"))]
    assert rows
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert cells[0] in ("error", "warning", "info"), row
        assert len(cells) == 3, row
        assert all(cells), row


# -- a diagnosis -----------------------------------------------------------------------------------
class Says(ProjectCheck, id="says"):
    """All is well."""

    def __init__(self, *found: Finding | Exception, id: str = "says", after: tuple[str, ...] = ()) -> None:
        self._found = found
        self.id = id  # type: ignore[misc]
        self.after = after  # type: ignore[misc]

    def run(self, project: Project) -> Iterator[Finding]:
        for each in self._found:
            if isinstance(each, Exception):
                raise each
            yield each


def found_by(*checks: ProjectCheck) -> list[tuple[str, str]]:
    """Return the severity and the message of each finding."""
    found = diagnose(Project(), cache_checks=[], project_checks=checks)
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
    assert found_by(Says(*found))[-1] == (severity, message)
    assert len(found_by(Says(*found))) == max(1, len(found))


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
    last = found_by(Says(found, id="first"), Says(id="second", after=("first",)))[-1]
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
@pytest.mark.parametrize(("missing", "package"), [("django_redis", "django-redis"), ("redis", "redis")])
def test_command__without_a_library_that_the_settings_name(python: Python, missing: str, package: str) -> None:
    done = python(
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from django.core.management import execute_from_command_line\n"
        "execute_from_command_line(['manage.py', 'cache_doctor'])",
        DJANGO_SETTINGS_MODULE="config.settings",
        REDIS_URL="redis://127.0.0.1:1/0",
        CELERY_BROKER_URL="memory://",
    )
    assert done.returncode == 1, done.stderr
    assert f"fix  pip install {package}\n" in done.stdout
    assert "Traceback" not in done.stderr
