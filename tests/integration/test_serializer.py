"""The project's serializer and compressor on a real server: django-redis, jobs, sessions."""

from __future__ import annotations

import json
import pickle
import zlib
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings as django_settings
from django.core.cache import cache, caches
from django.test import Client
from django.utils.safestring import mark_safe
from redis import Redis

from users.models import CustomUser
from warmer import warm_many
from warmer.exceptions import UnreadableValue, UnsupportedValue
from warmer.serializers.django_redis import MARK

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_jobs")]

VALUES: dict[int, Any] = {
    1: {"id": 1, "name": "Ada", "tags": ("a", "b"), 7: {True: None, 1.5: b"\xff"}},
    2: [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Berlin"))],
    3: {Decimal("1.50"), UUID(int=3), frozenset({1}), timedelta(1)},
    4: -0.0,
    5: 2**100,
    6: "a" * 5000,
    7: None,
    8: True,
    9: 12,
    10: "12",
    11: b"12",
    12: "",
    13: b"x\x01 looks compressed",
    14: [{"id": number, "at": datetime(2026, 1, 1, tzinfo=UTC)} for number in range(200)],
    15: {"text": "\ud800", "pair": (1, [2, (3,)])},
}


class Colour(Enum):
    RED = "red"


def told(value: Any) -> str:
    """Return a value with all its types, as Python writes it; sets in order."""
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}({sorted(map(told, value))})"
    return repr(value)


@pytest.fixture
def strict_cache(settings: Any) -> Any:
    """A second cache in the same place, which does not hide errors."""
    strict = deepcopy(django_settings.CACHES["default"])
    strict["OPTIONS"]["IGNORE_EXCEPTIONS"] = False
    settings.CACHES = {**django_settings.CACHES, "strict": strict}
    return caches["strict"]


@pytest.mark.parametrize("id", VALUES)
def test_cache__gives_back_what_was_set(id: int) -> None:
    cache.set("value", VALUES[id])
    assert told(cache.get("value", "nothing")) == told(VALUES[id])


def test_cache__many_at_once() -> None:
    assert not cache.set_many({str(id): value for id, value in VALUES.items()})
    found = cache.get_many(map(str, VALUES))
    assert {key: told(value) for key, value in found.items()} == {
        str(id): told(value) for id, value in VALUES.items()
    }


def test_cache__refuses_what_it_cannot_give_back(redis_client: Redis) -> None:
    with pytest.raises(UnsupportedValue, match=r"at \['colour'\] it holds a .*Colour"):
        cache.set("value", {"colour": Colour.RED})
    assert redis_client.dbsize() == 0


def test_server__holds_short_values_as_they_are_and_long_ones_compressed(redis_client: Redis) -> None:
    cache.set("short", {"name": "Ada"})
    cache.set("long", {"name": "Ada" * 1000})
    assert redis_client.get(str(cache.make_key("short"))) == MARK + b"\x81\xa4name\xa3Ada"
    long = redis_client.get(str(cache.make_key("long")))
    assert long is not None
    assert len(long) < 100
    assert zlib.decompress(long)[:1] == MARK


def test_job__writes_and_reads_every_value(redis_client: Redis) -> None:
    stored = {id: value for id, value in VALUES.items() if value is not None}
    job: Any = warm_many("exact:{id}", name="exact", ids=lambda: stored)(
        lambda ids: {id: stored[id] for id in ids}
    )
    assert job.warm().written == len(stored)
    assert {id: told(value) for id, value in job.get_many(list(stored)).items()} == {
        id: told(value) for id, value in stored.items()
    }
    for id, value in stored.items():
        assert told(job.get(id)) == told(cache.get(f"exact:{id}")) == told(value)


def test_job__a_value_that_is_refused_costs_its_key_alone() -> None:
    values: dict[int, Any] = {1: {"bio": "plain"}, 2: {"bio": mark_safe("<b>")}, 3: [1]}
    job: Any = warm_many("mixed:{id}", name="mixed", ids=lambda: values)(
        lambda ids: {id: values[id] for id in ids}
    )
    report = job.warm()
    assert (report.written, report.failed) == (2, 1)
    (failure,) = report.failures
    assert failure.key == "mixed:2"
    assert "at ['bio'] it holds a django.utils.safestring.SafeString" in failure.error
    assert "Give str(...) of it" in failure.error
    assert cache.get_many(["mixed:1", "mixed:2", "mixed:3"]) == {"mixed:1": {"bio": "plain"}, "mixed:3": [1]}


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
    ],
)
def test_value_of_another_serializer__is_a_miss(redis_client: Redis, foreign: bytes) -> None:
    job: Any = warm_many("foreign:{id}", ids=lambda: [1], name="foreign")(
        lambda ids: {id: f"new {id}" for id in ids}
    )
    for id in (1, 2):
        redis_client.set(str(cache.make_key(f"foreign:{id}")), foreign)
    assert cache.get("foreign:1") is None
    assert cache.get("foreign:1", "default") == "default"
    assert cache.get_many(["foreign:1"]) == {}
    assert job.get(1) == "new 1"
    assert cache.get("foreign:1") == "new 1"
    assert cache.get_or_set("foreign:2", "set") == "set"


def test_value_of_another_serializer__where_errors_are_not_hidden(
    redis_client: Redis, strict_cache: Any
) -> None:
    redis_client.set(str(cache.make_key("foreign")), b'{"a": 1}')
    with pytest.raises(UnreadableValue, match=r"^A cached value cannot be read: it was written by another"):
        strict_cache.get("foreign")


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


class Grade(IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    ("value", "why"), [(Grade.ONE, "UnsupportedValue"), (10**5000, "ValueError")], ids=["subclass", "huge"]
)
def test_job__number_that_cannot_be_cached_costs_its_own_key(value: Any, why: str) -> None:
    """django-redis passes whole numbers on as they are, past the serializer."""
    job = warm_many("number:{id}", ids=lambda: [1, 2], name="numbers")(lambda ids: {1: value, 2: 2})
    report = job.warm()
    assert (report.written, report.failed) == (1, 1)
    assert why in report.failures[0].error
    assert cache.get_many(["number:1", "number:2"]) == {"number:2": 2}
