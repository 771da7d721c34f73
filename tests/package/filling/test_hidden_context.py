"""What a loader sees of whoever asks: nothing. Its value is cached for everybody."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from threading import Semaphore
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import cache
from django.core.management import call_command
from django.urls import get_script_prefix, get_urlconf, reverse, set_script_prefix, set_urlconf
from django.utils import timezone, translation
from django.utils.formats import date_format
from django.utils.translation import gettext

from embedded.waiting import wait_until
from users.models import CustomUser
from warmer import warm, warm_many
from warmer.filling import shared_loads
from warmer.invalidation import captures_by_triggers

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_jobs")]

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
URLCONF = "warmer.urls"
tenant: ContextVar[str] = ContextVar("tenant", default="public")


def shown() -> dict[str, str]:
    """Return what a page shows in the language, the time zone and under the address of whoever asks."""
    return {
        "label": gettext("Home"),
        "month": date_format(timezone.localtime(NOON), "F"),
        "hour": date_format(timezone.localtime(NOON), "H:i"),
        "url": reverse("admin:index"),
    }


@contextmanager
def elsewhere() -> Iterator[None]:
    """Ask as a visitor in Tokyo who reads German, below another address."""
    prefix, urlconf = get_script_prefix(), get_urlconf()
    try:
        with translation.override("de"), timezone.override("Asia/Tokyo"):
            set_script_prefix("/below/")
            set_urlconf(URLCONF)
            yield
            asked_by = translation.get_language(), timezone.get_current_timezone_name(), get_script_prefix()
            assert (*asked_by, get_urlconf()) == ("de", "Asia/Tokyo", "/below/", URLCONF)
    finally:
        set_script_prefix(prefix)
        set_urlconf(urlconf)


@pytest.mark.parametrize(
    "ask",
    [lambda job: job.get(1), lambda job: async_to_sync(job.aget)(1), lambda job: job.warm([1]), lambda job: job([1])],
    ids=["get", "aget", "warm", "itself"],
)
def test_loader__sees_the_settings_context_whoever_asks(ask: Callable[[Any], Any]) -> None:
    told: list[Any] = []

    @warm_many("shown:{id}", name="shown", ids=lambda: [1])
    def job(ids: Any) -> Any:
        told.append(shown())
        return dict.fromkeys(ids, told[-1])

    with elsewhere():
        ask(job)
    assert told == [shown()]
    assert told[0]["label"] == "Home"
    assert told[0]["url"] == "/admin/"
    job.get(1)
    call_command("cache_audit", "shown")  # exits with 1 if a key is wrong


def test_loader__is_left_in_the_context_of_whoever_asks_when_it_raises() -> None:
    @warm("raises", name="raises")
    def job() -> Any:
        raise KeyError("no value")

    with elsewhere(), pytest.raises(KeyError):
        job.get()


def test_ids__are_found_in_the_settings_context() -> None:
    @warm_many("day:{id}", name="day", ids=lambda: (timezone.localtime(NOON).strftime("%H") for _ in [1]))
    def job(ids: Any) -> Any:
        return dict.fromkeys(ids, "value")

    with elsewhere():
        assert job.warm().written == 1
    assert cache.get(f"day:{timezone.localtime(NOON):%H}") == "value"


def test_function_of_a_row__is_called_in_the_settings_context(transactional_db: None) -> None:
    @warm_many(
        "said:{id}",
        name="said",
        ids=lambda: ["Home"],
        depends_on={CustomUser: lambda user: gettext("Home")},
        fields={CustomUser: ["username"]},
    )
    def job(ids: Any) -> Any:
        return dict.fromkeys(ids, CustomUser.objects.count())

    if captures_by_triggers():
        call_command("warm_triggers")
    assert job.get("Home") == 0
    with elsewhere():
        CustomUser.objects.create(username="ada")
    assert job.get("Home") == 1


def tenants_key(key: str, prefix: str, version: int) -> str:
    return f"{tenant.get()}:{prefix}:{version}:{key}"


@pytest.fixture
def by_tenant(settings: Any) -> None:
    settings.CACHES = {"default": settings.CACHES["default"] | {"KEY_FUNCTION": tenants_key}}


@pytest.mark.usefixtures("by_tenant")
def test_key_function_of_tenants__caches_for_the_first_one_only(caplog: Any) -> None:
    """The check refuses it; a process that was started all the same gives no tenant another one's value."""

    @warm_many("of:{id}", name="of", ids=lambda: [1])
    def job(ids: Any) -> Any:
        return dict.fromkeys(ids, tenant.get())

    for name in ("one", "two", "one", "two"):
        outer = tenant.set(name)
        assert job.get(1) == name
        assert cache.get("of:1") == ("one" if name == "one" else None)
        tenant.reset(outer)
    assert "warmer.E005" in caplog.text


@pytest.mark.usefixtures("by_tenant")
@pytest.mark.django_db(transaction=True)
def test_key_function_of_tenants__readers_who_share_loads_are_of_one_tenant(settings: Any) -> None:
    """Those for whom the cache has another name bypass it, as in an outage, where threads share loads."""
    settings.WARMER_READ_WAIT = timedelta(minutes=1)
    began: list[str] = []
    may_end = Semaphore(0)

    @warm_many("of:{id}", name="of", ids=lambda: [1])
    def job(ids: Any) -> Any:
        began.append(tenant.get())
        assert may_end.acquire(timeout=30)
        return dict.fromkeys(ids, tenant.get())

    def read(name: str) -> Any:
        tenant.set(name)
        return job.get(1)

    may_end.release()
    assert copy_context().run(read, "one") == "one"
    with ThreadPoolExecutor(3) as pool:
        try:
            first = pool.submit(read, "two")
            wait_until(lambda: "two" in began, seconds=30, what="the first load began")
            second = pool.submit(read, "two")
            wait_until(lambda: bool(shared_loads._next), seconds=30, what="a reader waits for the next")
            third = pool.submit(read, "three")
            wait_until(lambda: "three" in began, seconds=30, what="the other tenant loads too")
        finally:
            may_end.release(3)
        assert [each.result(30) for each in (first, second, third)] == ["two", "two", "three"]
