"""The project's serializer and compressor on a real server: jobs, sessions, and what other code caches there.

What cannot be stored exactly is not cached; it is never an error of that code.
"""

import json
import logging
import pickle
import zlib
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template
from django.test import Client, RequestFactory
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.cache import cache_page
from django_redis.client import DefaultClient
from redis import Redis

from tests.package.serializers.values import told
from users.models import CustomUser
from warmer import warm_many
from warmer.exceptions import UnreadableValue
from warmer.serializers import django_redis
from warmer.serializers.django_redis import MARK, NOT_CACHED, MsgspecSerializer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_jobs", "log_anew")]

PICKLE = "django_redis.serializers.pickle.PickleSerializer"
VALUES: dict[int, Any] = {
    1: {"id": 1, "name": "Ada", "tags": ("a", "b"), 7: {True: None, 1.5: b"\xff"}},
    2: [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Berlin"))],
    3: {Decimal("1.50"), UUID(int=3), frozenset({1}), timedelta(1)},
    4: [-0.0, 2**60, "a" * 5000, None, True, b"12", ""],
    5: 12,
    6: "12",
    7: True,
    8: b"x\x01 looks compressed",
    9: [{"id": number, "at": datetime(2026, 1, 1, tzinfo=UTC)} for number in range(200)],
    10: {"text": "\0", "pair": (1, [2, (3,)])},
}

# More than a process may decompress.
BOMB = zlib.compress(MARK + bytes(10_000_000))


class OwnClient(DefaultClient):
    """A client that encodes in its own way."""

    def encode(self, value: Any, **options: Any) -> Any:
        return super().encode(value, **options)


@pytest.fixture
def log_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(django_redis, "_logged", set())


@pytest.fixture(params=["errors ignored", "errors raised", "fallback"])
def shared(request: pytest.FixtureRequest, settings: Any) -> str:
    """Each kind of alias that warmer and other apps may share."""
    settings.CACHES = deepcopy(settings.CACHES)
    options = settings.CACHES["default"]["OPTIONS"]
    options["IGNORE_EXCEPTIONS"] = request.param != "errors raised"
    if request.param == "fallback":
        options["FALLBACK_SERIALIZER"] = PICKLE
    return str(request.param)


def all_told(values: dict[Any, Any]) -> dict[Any, str]:
    return {key: told(value) for key, value in values.items()}


def test_cache_and_job__give_back_what_was_set() -> None:
    job: Any = warm_many("exact:{id}", name="exact", ids=lambda: VALUES)(lambda ids: {id: VALUES[id] for id in ids})
    assert job.warm().written == len(VALUES)
    by_key = {f"exact:{id}": value for id, value in VALUES.items()}
    assert all_told(job.get_many(list(VALUES))) == all_told(VALUES)
    assert all_told(cache.get_many(by_key)) == all_told(by_key)
    assert not cache.set_many(by_key | {"none": None})
    assert {id: told(job.get(id)) for id in VALUES} == all_told(VALUES)
    assert {key: told(cache.get(key)) for key in by_key} == all_told(by_key)
    assert cache.get("none", "nothing") is None


def test_server__holds_short_values_as_they_are_and_long_ones_compressed(redis_client: Redis) -> None:
    cache.set("short", {"name": "Ada"})
    cache.set("long", {"name": "Ada" * 1000})
    assert redis_client.get(":1:short") == MARK + b"\x81\xa4name\xa3Ada"
    long = redis_client.get(":1:long")
    assert long is not None
    assert len(long) < 100
    assert zlib.decompress(long)[:1] == MARK


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"bio": mark_safe("<b>")}, "at ['bio'] it holds a django.utils.safestring.SafeString"),
        # django-redis stores integers unchanged, bypassing the serializer.
        (IntEnum("Grade", {"ONE": 1}).ONE, "UnsupportedValue"),  # type: ignore[attr-defined]
        (10**5000, "ValueError"),
        ("a" * 3000, "3004 bytes, more than WARMER_MAX_VALUE_BYTES (2000)"),
    ],
    ids=["refused", "subclass", "huge", "above the limit"],
)
def test_job__a_value_that_is_refused_costs_its_key_alone(value: Any, why: str, settings: Any) -> None:
    settings.WARMER_MAX_VALUE_BYTES = 2000
    job: Any = warm_many("mixed:{id}", name="mixed", ids=lambda: [1, 2])(lambda ids: {1: value, 2: [2]})
    report = job.warm()
    assert (report.written, report.failed) == (1, 1)
    (failure,) = report.failures
    assert failure.key == "mixed:1"
    assert why in failure.error
    assert job.get(1) == value
    assert cache.get_many(["mixed:1", "mixed:2"]) == {"mixed:2": [2]}


@pytest.mark.parametrize(
    "foreign",
    [
        json.dumps({"a": 1}).encode(),
        zlib.compress(json.dumps({"a": 1}).encode()),
        pickle.dumps({"a": 1}),
        b"\x81\xa1a\x01",
        MARK + b"\x81\xa1a",
        b"x\x01 damaged",
        b"",
        BOMB,
    ],
)
def test_value_that_is_foreign_or_too_long__is_a_miss_and_replaced(
    redis_client: Redis, settings: Any, caplog: pytest.LogCaptureFixture, foreign: bytes
) -> None:
    settings.WARMER_MAX_VALUE_BYTES = 100_000
    job: Any = warm_many("foreign:{id}", ids=lambda: [1], name="foreign")(lambda ids: {id: f"new {id}" for id in ids})
    for id in (1, 2):
        redis_client.set(str(cache.make_key(f"foreign:{id}")), foreign)
    assert cache.get("foreign:1") is None
    assert cache.get("foreign:1", "default") == "default"
    assert cache.get_many(["foreign:1"]) == {}
    caplog.clear()
    assert job.get(1) == "new 1"
    (warning,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert "foreign:1" in warning
    assert ("WARMER_MAX_VALUE_BYTES (100000)" in warning) == (foreign is BOMB)
    assert cache.get("foreign:1") == "new 1"
    assert cache.get_or_set("foreign:2", "set") == "set"


@pytest.mark.parametrize(
    ("foreign", "why"), [(b'{"a": 1}', "another serializer"), (MARK + b"\x81", "it is damaged"), (BOMB, "more than")]
)
def test_unreadable_value__with_errors_raised(redis_client: Redis, settings: Any, foreign: bytes, why: str) -> None:
    settings.CACHES = deepcopy(settings.CACHES)
    settings.CACHES["default"]["OPTIONS"]["IGNORE_EXCEPTIONS"] = False
    settings.WARMER_MAX_VALUE_BYTES = 100_000
    redis_client.set(":1:foreign", foreign)
    with pytest.raises(UnreadableValue, match=why):
        cache.get("foreign")


def test_session__of_the_admin_is_served_from_the_cache(
    client: Client, admin_user: CustomUser, django_assert_num_queries: Any
) -> None:
    client.post("/admin/login/", {"username": admin_user.username, "password": "password"})
    session = client.session
    assert session["_auth_user_id"] == str(admin_user.pk)
    cached = cache.get(session.cache_key)
    assert cached == dict(session.items())
    # Saved again and read by another request, with what messages and plain code put into it.
    session["seen"] = {"at": "2026-01-01", "ids": [1, 2]}
    session.save()
    with django_assert_num_queries(0):
        assert dict(client.session.items()) == {**cached, "seen": {"at": "2026-01-01", "ids": [1, 2]}}
    assert client.get("/admin/").status_code == 200


# -- what other code caches beside jobs ----------------------------------------------------------------
def test_page_and_fragment__are_served_from_the_cache_or_anew(shared: str) -> None:
    calls = []

    @cache_page(60)
    def page(request: HttpRequest) -> HttpResponse:
        calls.append(request)
        return HttpResponse("hello")

    request = RequestFactory().get("/page/")
    assert [page(request).content for _ in range(3)] == [b"hello"] * 3
    fragment = Template("{% load cache %}{% cache 60 fragment %}<b>{{ value }}</b>{% endcache %}")
    shown = [fragment.render(Context({"value": value})) for value in ("x", "y")]
    if shared == "fallback":
        assert (len(calls), shown) == (1, ["<b>x</b>", "<b>x</b>"])
    else:
        assert (len(calls), shown) == (3, ["<b>x</b>", "<b>y</b>"])


def test_objects__never_read_back_as_something_else(shared: str, admin_user: CustomUser) -> None:
    kept = shared == "fallback"
    cache.set("user", "an older value")
    cache.set("user", admin_user)
    assert cache.get("user") == (admin_user if kept else None)
    cache.set_many({"plain": (1, 2), "safe": mark_safe("<b>")})
    assert cache.get("plain") == (1, 2)
    if shared != "errors raised":
        readable = {"user": admin_user, "safe": "<b>"} if kept else {}
        assert cache.get_many(["user", "plain", "safe", "missing"]) == {"plain": (1, 2)} | readable
    safe = cache.get("safe")
    assert (type(safe), safe) == ((SafeString, "<b>") if kept else (type(None), None))
    cache.delete("user")
    assert cache.add("user", admin_user)
    assert cache.get("user") == (admin_user if kept else None)


def test_get_or_set__gives_what_was_asked_for(settings: Any, admin_user: CustomUser) -> None:
    for _ in range(2):
        assert cache.get_or_set("user", CustomUser.objects.first) == admin_user
        assert cache.get_many(["user"]) == {}


def test_log__names_the_writer_once_per_type(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="warmer"):
        for number in range(3):
            cache.set(f"key{number}", [mark_safe("<b>")])
            cache.set(f"set{number}", {"response": HttpResponse()})
    assert [record.name for record in caplog.records] == ["warmer.serializers.django_redis"] * 2
    safe, response = (record.getMessage() for record in caplog.records)
    assert f"{__name__}, line " in safe
    assert "at [0] it holds a django.utils.safestring.SafeString" in safe
    assert "at ['response'] it holds a django.http.response.HttpResponse" in response
    assert "WARMER_CACHE" in safe


@pytest.mark.filterwarnings("ignore:.* on sharded client")  # of django-redis itself
@pytest.mark.parametrize(
    "client", ["django_redis.client.DefaultClient", "django_redis.client.ShardClient", f"{__name__}.OwnClient"]
)
def test_job__fails_for_what_it_cannot_carry(shared: str, settings: Any, client: str) -> None:
    settings.CACHES["default"]["OPTIONS"]["CLIENT_CLASS"] = client
    job: Any = warm_many("mixed:{id}", name="mixed", ids=lambda: [1, 2])(lambda ids: {1: mark_safe("<b>"), 2: "plain"})
    report = job.warm()
    assert (report.written, report.failed) == (1, 1)
    assert "SafeString" in report.failures[0].error
    assert type(job.get(1)) is SafeString  # loaded, and not cached
    assert cache.get("mixed:1") is None


def test_what_is_not_cached__is_no_value_of_any_serializer() -> None:
    serializer = MsgspecSerializer({"IGNORE_EXCEPTIONS": False})
    assert serializer.dumps(object()) == NOT_CACHED
    assert serializer.loads(NOT_CACHED) is None
