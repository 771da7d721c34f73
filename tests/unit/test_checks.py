"""System checks: each has a test that is named after its id."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import ERROR, WARNING, CheckMessage, run_checks
from django.core.management import call_command
from django.db import connection

from myapp.models import Post
from warmer import checks, warm, warm_many
from warmer.invalidation import triggers

REDIS = "django_redis.cache.RedisCache"
DUMMY = "django.core.cache.backends.dummy.DummyCache"
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"

pytestmark = pytest.mark.usefixtures("empty_registry")


@pytest.fixture
def plain_cache(settings: Any) -> None:
    """Have a second cache, which keeps no atomic fence."""
    settings.CACHES = {**settings.CACHES, "plain": {"BACKEND": LOCMEM}}


def found(id: str, **options: Any) -> list[CheckMessage]:
    return [message for message in run_checks(tags=["warmer"], **options) if message.id == f"warmer.{id}"]


def declare_keyed(name: str, **options: Any) -> None:
    warm_many(f"{name}:{{id}}", name=name, ids=list, **options)(dict)


def declare_single(name: str, **options: Any) -> None:
    warm(name, name=name, **options)(list)


def test_every_id__has_a_test_that_is_named_after_it() -> None:
    ids = set(re.findall(r'id="warmer\.(\w+)"', inspect.getsource(checks)))
    tested = {name.split("__")[0] for name in globals()}

    assert ids
    assert {f"test_{id.lower()}" for id in ids} <= tested


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"BACKEND": "django_redis.cache.RedisCach"}, 'does not define a "RedisCach"'),
        ({"BACKEND": "django_reddis.cache.RedisCache"}, "No module named 'django_reddis'"),
        ({"BACKEND": LOCMEM, "OPTION": {}, "KEY_FUNCTION": "nowhere.at_all"}, "No module named 'nowhere'"),
        ({}, "KeyError: 'BACKEND'"),
    ],
)
def test_e002__cache_that_cannot_be_used(settings: Any, entry: dict[str, Any], why: str) -> None:
    settings.CACHES = {**settings.CACHES, "broken": entry}
    declare_single("one", cache="broken")
    declare_single("two", cache="broken")

    (message,) = found("E002")

    assert message.level == ERROR
    assert message.msg.startswith(f"The cache 'broken' ({entry.get('BACKEND')}) cannot be used: ")
    assert why in message.msg
    assert message.hint
    assert message.hint.startswith("CACHES['broken']['BACKEND'] must name a class that can be imported")


def test_e002__silent_for_a_cache_that_no_job_uses(settings: Any) -> None:
    settings.CACHES = {**settings.CACHES, "broken": {"BACKEND": "nowhere.Cache"}}
    declare_single("one")

    assert not found("E002")


@pytest.mark.parametrize("debug", [False, True])
def test_w006__cache_that_keeps_nothing(settings: Any, debug: bool) -> None:
    settings.DEBUG = debug
    settings.CACHES = {**settings.CACHES, "none": {"BACKEND": DUMMY}}
    declare_keyed("swept", cache="none", depends_on=[Post])

    (message,) = run_checks(tags=["warmer"])

    assert (message.id, message.level) == ("warmer.W006", WARNING)
    assert message.msg == (
        f"The cache 'none' ({DUMMY}) keeps nothing: every read loads from the database, and a warm does "
        "nothing."
    )
    assert message.hint
    assert "FileBasedCache" in message.hint


@pytest.mark.usefixtures("plain_cache")
def test_w006__silent_for_caches_that_keep_what_they_get() -> None:
    declare_single("one", cache="plain")
    declare_single("two")

    assert not found("W006")


@pytest.mark.usefixtures("plain_cache")
def test_w001__cache_without_an_atomic_fence_in_production(settings: Any) -> None:
    settings.DEBUG = False
    declare_single("superseded")
    declare_single("one", cache="plain")
    declare_single("two", cache="plain")

    (message,) = found("W001")

    assert message.level == WARNING
    assert message.msg == f"The cache 'plain' ({LOCMEM}) cannot keep the fence in one atomic step."
    assert message.hint == (
        "An old value may be seen for a moment after an invalidation. Use django_redis.cache.RedisCache "
        "or Django's own RedisCache."
    )


@pytest.mark.usefixtures("plain_cache")
def test_w001__silent_in_development(settings: Any) -> None:
    settings.DEBUG = True
    declare_single("one", cache="plain")

    assert not found("W001")


@pytest.mark.usefixtures("plain_cache")
def test_w001__silent_for_a_cache_that_no_job_uses() -> None:
    declare_single("superseded")

    assert not found("W001")


@pytest.mark.usefixtures("plain_cache")
@pytest.mark.parametrize("debug", [False, True])
def test_w002__cache_that_cannot_find_the_keys_of_a_job(settings: Any, debug: bool) -> None:
    settings.DEBUG = debug
    declare_keyed("swept", cache="plain", depends_on=[Post])
    declare_keyed("also_swept", cache="plain", depends_on=["myapp.Comment"])
    declare_keyed("with_ids", cache="plain", depends_on={Post: "id"})
    declare_keyed("alone", cache="plain")
    declare_single("single", cache="plain", depends_on=[Post])
    declare_keyed("superseded", depends_on=[Post])

    (message,) = found("W002")

    assert message.level == WARNING
    assert message.msg == (
        f"The cache 'plain' ({LOCMEM}) cannot find all keys of swept, also_swept when a model of "
        "depends_on changes: they stay until their timeout."
    )
    assert message.hint == (
        "Use a Redis cache, or say which ids a change concerns: depends_on={Model: 'field'}."
    )


@pytest.mark.usefixtures("plain_cache")
@pytest.mark.parametrize(
    "declare",
    [
        lambda: declare_keyed("with_ids", cache="plain", depends_on={Post: "id"}),
        lambda: declare_keyed("alone", cache="plain"),
        lambda: declare_single("single", cache="plain", depends_on=[Post]),
        lambda: declare_keyed("superseded", depends_on=[Post]),
    ],
)
def test_w002__silent_when_no_sweep_is_needed(declare: Callable[[], None]) -> None:
    declare()

    assert not found("W002")


def test_w003__nothing_sends_the_scheduled_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "is_installed", lambda name: name != "django_celery_beat")
    declare_single("often", every=timedelta(minutes=1))
    declare_single("rarely", every=timedelta(minutes=30))
    declare_single("never", every=None)

    (message,) = found("W003")

    assert message.level == WARNING
    assert message.msg == "Nothing refreshes often, rarely: django_celery_beat is not installed."
    assert message.hint == (
        "Run 'pip install warmer[beat]' and add 'django_celery_beat' to INSTALLED_APPS, or declare the "
        "jobs with every=None."
    )


def test_w003__silent_when_nothing_is_scheduled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "is_installed", lambda name: name != "django_celery_beat")
    declare_single("never", every=None)

    assert not found("W003")


def test_w003__silent_with_beat() -> None:
    declare_single("often")

    assert not found("W003")


@pytest.mark.parametrize(
    ("accepted", "shown"),
    [
        (["json", "pickle"], "'json', 'pickle'"),
        (("pickle",), "'pickle'"),
        (["application/x-python-serialize"], "'application/x-python-serialize'"),
        (["yaml"], "'yaml'"),
    ],
)
def test_w004__celery_accepts_what_runs_code(settings: Any, accepted: Any, shown: str) -> None:
    settings.CELERY_ACCEPT_CONTENT = accepted

    (message,) = found("W004")

    assert message.level == WARNING
    assert message.msg == f"Celery accepts {shown}: who can write to the broker can run code."
    assert message.hint == "Set CELERY_ACCEPT_CONTENT = ['json']: the warming tasks need nothing else."


@pytest.mark.parametrize("accepted", [["json"], ("json", "msgpack"), {"application/json"}])
def test_w004__silent_for_plain_data(settings: Any, accepted: Any) -> None:
    settings.CELERY_ACCEPT_CONTENT = accepted

    assert not found("W004")


def test_w004__silent_when_the_project_leaves_celerys_default(settings: Any) -> None:
    del settings.CELERY_ACCEPT_CONTENT

    assert not found("W004")


def test_w005__metrics_without_the_client(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WARMER_METRICS = True
    monkeypatch.setattr(checks, "find_spec", lambda name: None)

    (message,) = found("W005")

    assert message.level == WARNING
    assert message.hint == "Run 'pip install warmer[metrics]'."


def test_w005__silent_with_it_and_where_metrics_are_off(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WARMER_METRICS = True
    assert not found("W005")

    settings.WARMER_METRICS = False
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    assert not found("W005")


def test_w007__capture_that_is_not_chosen(settings: Any) -> None:
    settings.WARMER_CAPTURE = ""
    assert not found("W007")  # nothing depends on the database

    declare_single("one", depends_on=[Post])
    (message,) = found("W007")

    assert message.level == WARNING
    assert message.hint
    assert "WARMER_CAPTURE = 'triggers'" in message.hint
    for chosen in ("signals", "triggers"):
        settings.WARMER_CAPTURE = chosen
        assert not found("W007")


def test_e003__database_that_has_no_triggers(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WARMER_CAPTURE = "triggers"
    declare_single("one", depends_on=[Post])
    assert not found("E003")

    monkeypatch.setattr(connection, "vendor", "oracle")
    (message,) = found("E003")

    assert message.level == ERROR
    assert "'default' (oracle)" in message.msg
    settings.WARMER_CAPTURE = "signals"
    assert not found("E003")


@pytest.mark.django_db
def test_w008__table_without_triggers(settings: Any) -> None:
    settings.WARMER_CAPTURE = "triggers"
    declare_single("one", depends_on=[Post])
    triggers.remove("default")

    (message,) = found("W008", databases=["default"])

    assert message.level == WARNING
    assert message.msg.startswith("myapp_post on 'default' has no triggers")
    assert message.hint == "Run 'manage.py warm_triggers --database default'."
    assert not found("W008")  # a check that may not ask the database

    triggers.install("default")
    assert not found("W008", databases=["default"])


def test_checks__can_be_asked_for_by_their_tag(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("check", "--tag", "warmer")

    assert "no issues" in capsys.readouterr().out
