"""What other code keeps in a cache with warmer's serializer: stored, or not cached; never an error."""

import logging
from copy import deepcopy
from typing import Any

import pytest
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template
from django.test import RequestFactory
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.cache import cache_page
from django_redis.client import DefaultClient

from users.models import CustomUser
from warmer import warm_many
from warmer.serializers import django_redis
from warmer.serializers.django_redis import NOT_CACHED, MsgspecSerializer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_jobs", "log_anew")]

PICKLE = "django_redis.serializers.pickle.PickleSerializer"


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
