"""System checks: each has a test that is named after its id."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import WARNING, CheckMessage, run_checks
from django.core.management import call_command

from myapp.models import Post
from warmer import checks, warm, warm_many

REDIS = "django_redis.cache.RedisCache"
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"

pytestmark = pytest.mark.usefixtures("empty_registry")


@pytest.fixture
def plain_cache(settings: Any) -> None:
    """Have a second cache, which keeps no atomic fence."""
    settings.CACHES = {**settings.CACHES, "plain": {"BACKEND": LOCMEM}}


def found(id: str) -> list[CheckMessage]:
    return [message for message in run_checks(tags=["warmer"]) if message.id == f"warmer.{id}"]


def declare_keyed(name: str, **options: Any) -> None:
    warm_many(f"{name}:{{id}}", name=name, ids=list, **options)(dict)


def declare_single(name: str, **options: Any) -> None:
    warm(name, name=name, **options)(list)


def test_every_id__has_a_test_that_is_named_after_it() -> None:
    ids = set(re.findall(r'id="warmer\.(\w+)"', inspect.getsource(checks)))
    tested = {name.split("__")[0] for name in globals()}

    assert ids
    assert {f"test_{id.lower()}" for id in ids} <= tested


@pytest.mark.usefixtures("plain_cache")
def test_w001__cache_without_an_atomic_fence_in_production(settings: Any) -> None:
    settings.DEBUG = False
    declare_single("fenced")
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
    declare_single("fenced")

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
    declare_keyed("fenced", depends_on=[Post])

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
        lambda: declare_keyed("fenced", depends_on=[Post]),
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
    assert message.msg == f"Celery accepts {shown}: whoever can write to the broker can run code."
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


def test_checks__can_be_asked_for_by_their_tag(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("check", "--tag", "warmer")

    assert "no issues" in capsys.readouterr().out
