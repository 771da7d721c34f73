"""The doctor's checks as a whole: each is in the catalogue and in the docs; and how it words things."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.conftest import Python
from warmer import doctor
from warmer.doctor.catalogue import CACHE_CHECKS, PROJECT_CHECKS
from warmer.doctor.check import CacheCheck, ProjectCheck
from warmer.doctor.examination import examine
from warmer.doctor.finding import Finding, NotApplicable, NotChecked, Severity, error, info, ok, warning
from warmer.doctor.keys import shown_name
from warmer.doctor.project import Cache, Project
from warmer.doctor.reasons import REASONS, WRITES
from warmer.doctor.words import command, set_option
from warmer.exceptions import StoreUnavailable
from warmer.stores.looks import CommandRefused, Place, Reach
from warmer.tasks import Broker

PAGE = (Path(__file__).parent.parent.parent / "docs/doctor.md").read_text()
CHECKS = (*CACHE_CHECKS, *PROJECT_CHECKS)
PLACE = Place(text="cache.example.org:6379/0", host="cache.example.org", port=6379)


def modules() -> Iterator[Any]:
    for each in pkgutil.iter_modules(doctor.__path__):
        yield importlib.import_module(f"{doctor.__name__}.{each.name}")


# -- the catalogue and the docs --------------------------------------------------------------------
def test_catalogue__has_every_check() -> None:
    declared = {
        each
        for module in modules()
        for each in vars(module).values()
        if isinstance(each, type)
        and issubclass(each, CacheCheck | ProjectCheck)
        and each not in (CacheCheck, ProjectCheck)
    }
    assert declared == {type(check) for check in CHECKS}


def test_catalogue__ids_are_unique_and_readable() -> None:
    ids = [check.id for check in CHECKS]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", id) for id in ids)


def test_catalogue__what_a_check_builds_on_is_made_before_it() -> None:
    for checks in (CACHE_CHECKS, PROJECT_CHECKS):
        made: set[str] = set()
        for check in checks:
            assert set(check.after) <= made, check.id
            made.add(check.id)


def test_docs__have_every_check_and_no_other() -> None:
    assert re.findall(r"^### `([\w-]+)`", PAGE, flags=re.M) == [check.id for check in CHECKS]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_docs__say_of_each_what_it_means_and_the_fix(check: CacheCheck | ProjectCheck) -> None:
    part = PAGE.split(f"### `{check.id}`\n")[1].split("\n##")[0]
    text, _, table = part.partition("\n\n|")
    assert text.endswith(".")
    rows = [row for row in table.splitlines() if not row.lstrip("| ").startswith(("---", "shown as"))]
    assert rows
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert cells[0] in ("error", "warning", "note"), row
        assert len(cells) == 3, row
        assert all(cells), row


@pytest.mark.parametrize("how", Reach)
def test_reasons__there_is_one_for_every_way_to_fail(how: Reach) -> None:
    if how != Reach.ANSWERS:
        assert how in REASONS or how in WRITES


@pytest.mark.parametrize("reason", [*REASONS.values(), *WRITES.values()], ids=lambda each: each.seen[:40])
def test_reasons__can_be_filled(reason: Any) -> None:
    texts = reason.filled(PLACE, "what was said")
    assert all(texts.values())
    assert not any("{" in text for text in texts.values())


# -- an examination --------------------------------------------------------------------------------
class Says(ProjectCheck):
    """A check that says what it is given."""

    id = "says"
    subject = "test"

    def __init__(self, *found: Finding | Exception, id: str = "says", after: tuple[str, ...] = ()) -> None:
        self._found = found
        self.id = id  # type: ignore[misc]
        self.after = after  # type: ignore[misc]

    def look(self, project: Project) -> Iterator[Finding]:
        for each in self._found:
            if isinstance(each, Exception):
                raise each
            yield each


def examined(*checks: ProjectCheck) -> list[Finding | NotChecked]:
    project = Project(caches=(), specs=(), broker=Broker, queues=tuple)
    return list(examine(project, cache_checks=[], project_checks=checks).answers)


def test_examine__fills_in_who_found_it() -> None:
    (found,) = examined(Says(ok("fine")))
    assert (found.check, found.subject) == ("says", "test")


def test_examine__keeps_what_was_found_before_a_check_broke() -> None:
    first, second = examined(Says(ok("fine"), ValueError("broken")))
    assert isinstance(first, Finding)
    assert isinstance(second, Finding)
    assert (first.severity, second.severity) == (Severity.OK, Severity.FAILED)
    assert second.seen == "The check itself failed: ValueError: broken."


@pytest.mark.parametrize(
    ("raised", "severity"), [(CommandRefused("no"), "info"), (StoreUnavailable("away"), "failed")]
)
def test_examine__errors_that_have_a_meaning(raised: Exception, severity: str) -> None:
    (found,) = examined(Says(raised))
    assert isinstance(found, Finding)
    assert found.severity == severity


def test_examine__not_applicable_is_not_checked() -> None:
    assert examined(Says(NotApplicable("there is none"))) == [
        NotChecked(check="says", subject="test", reason="there is none")
    ]


@pytest.mark.parametrize(
    ("first", "made"),
    [
        (Says(ok("a"), id="first"), True),
        (Says(info("a", why="b"), id="first"), True),
        (Says(warning("a", why="b", fix="c"), id="first"), True),
        (Says(error("a", why="b", fix="c"), ok("d"), id="first"), False),
        (Says(ValueError("broken"), id="first"), False),
    ],
)
def test_examine__what_builds_on_an_error_is_not_checked(first: Says, made: bool) -> None:
    last = examined(first, Says(ok("fine"), id="second", after=("first",)))[-1]
    assert isinstance(last, Finding) is made
    assert last.check == "second"


# -- words -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("place", "said"),
    [
        (PLACE, "redis-cli -h cache.example.org -p 6379 PING"),
        (Place(text="x", path="/run/redis.sock"), "redis-cli -s /run/redis.sock PING"),
        (
            Place(text="x", host="h", port=1, tls=True, username="app", has_password=True),
            "redis-cli -h h -p 1 --tls --user app --askpass PING",
        ),
        (Place(text="x", service="mymaster"), "redis-cli -h HOST-OF-THE-MASTER PING"),
    ],
)
def test_command__gets_in_as_the_settings_do(place: Place, said: str) -> None:
    assert command(place, "PING") == said


def test_set_option__of_an_empty_value() -> None:
    assert set_option(PLACE, "save", "").endswith(
        'CONFIG SET save ""\nand in redis.conf, for its next start: save ""'
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (":1:post:42", ":1:post:42"),
        (":1:django.contrib.sessions.cache0123456789abcdefghijklmnopqrstuv", ":1:django.contrib.sessions.*"),
        (
            "x" * 15 + ":" + "y" * 15 + ":" + "z" * 15 + ":" + "w" * 19,
            "xxxxxxxxxxxxxxx:yyyyyyyyyyyyyyy:zzzzzzzzzzzzzzz:wwwwwwwwwwww...",
        ),
    ],
)
def test_shown_name__is_short_and_hides_what_may_be_secret(name: str, shown: str) -> None:
    assert shown_name(name) == shown


# -- without the libraries -------------------------------------------------------------------------
@pytest.mark.parametrize(("missing", "package"), [("django_redis", "django-redis"), ("redis", "redis")])
def test_command__without_a_library_that_the_settings_name(
    python: Python, missing: str, package: str
) -> None:
    done = python(
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from django.core.management import execute_from_command_line\n"
        "execute_from_command_line(['manage.py', 'cache_doctor'])",
        DJANGO_SETTINGS_MODULE="config.settings",
        REDIS_URL="redis://127.0.0.1:1/0",
        CELERY_BROKER_URL="memory://",
    )
    said = " ".join(done.stdout.split())
    assert done.returncode == 1, done.stderr
    assert f"The settings name django_redis.cache.RedisCache, but {package} is not installed." in said
    assert f"fix pip install {package} " in said
    assert "backend of the cache 'default'" in done.stderr
    assert "Traceback" not in done.stderr


def test_cache__without_a_server_has_no_redis() -> None:
    with pytest.raises(AssertionError):
        _ = Cache(alias="default", options={}).redis
