"""The project's serializer and compressor on a real server: django-redis, jobs, sessions."""

import json
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
from django.test import Client
from django.utils.safestring import mark_safe
from redis import Redis

from tests.package.serializers.values import told
from users.models import CustomUser
from warmer import warm_many
from warmer.exceptions import UnreadableValue
from warmer.serializers.django_redis import MARK

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_jobs")]

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
