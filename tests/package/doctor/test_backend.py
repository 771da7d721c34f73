"""The backend of a cache, its key function and its timeouts."""

import sys
from contextvars import ContextVar
from typing import Any

import pytest

from tests.package.doctor.support import BACKENDS, USED, Examine, cache_entry, expect

DJANGO_REDIS = "django_redis.cache.RedisCache"
tenant: ContextVar[str] = ContextVar("tenant", default="public")


def tenants_key(key: str, prefix: str, version: int) -> str:
    return f"{tenant.get()}:{key}"


@pytest.mark.parametrize(
    ("changed", "severity", "says", "fix"),
    [
        ({"BACKEND": DJANGO_REDIS}, "ok", DJANGO_REDIS, ""),
        ({"BACKEND": "myapp.no_such.Cache"}, "error", "myapp.no_such.Cache", '["BACKEND"] = ...'),
        ({"BACKEND": f"{BACKENDS}.locmem.LocMemCache"}, "warning", "LocMemCache", '["BACKEND"] = "warmer.stores.'),
        ({"BACKEND": f"{BACKENDS}.dummy.DummyCache"}, "error", "DummyCache", '["BACKEND"] = "warmer.stores.'),
        ({"KEY_FUNCTION": tenants_key}, "error", "'public:key'", '["KEY_FUNCTION"] = None\n'),
        ({"LOCATION": "redi://app:s3cr3t@h:1/0"}, "error", "'redi://***@h:1/0'", '["LOCATION"] = "redis://'),
        ({"LOCATION": "redis-cluster://:s3cr3t@h:port"}, "error", "'redis-cluster://***'", '["LOCATION"] = "redis://'),
    ],
)
def test_backend(examine: Examine, changed: dict[str, Any], severity: str, says: str, fix: str) -> None:
    entry = cache_entry("redis://app:s3cr3t@127.0.0.1:1/0") | changed
    found = examine("backend", entry, specs=USED)
    assert found.severity == severity
    assert says in found.message
    assert "s3cr3t" not in found.message
    assert found.fix.startswith(f'CACHES["other"]{fix}' if fix else "")
    is_broken = "no_such" in says or "LOCATION" in changed
    unused = examine("backend", entry)
    assert (unused.severity, "s3cr3t" in unused.message) == ("error" if is_broken else "ok", False)
    assert (examine("same-cache", entry, specs=USED).message == "backend failed") is is_broken


def test_backend__library_is_not_installed(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "django_redis", None)  # as Python knows a missing module
    expect(examine("backend", "redis://127.0.0.1:1/0"), "error", fix="pip install django-redis\n")


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({}, ()),
        ({"CONNECTION_POOL_KWARGS": {"socket_timeout": None}}, ("CONNECTION_POOL_KWARGS", "socket_timeout")),
        ({"CONNECTION_POOL_KWARGS": {"socket_timeout": 60}}, ("CONNECTION_POOL_KWARGS", "socket_timeout")),
        (
            {"CONNECTION_POOL_KWARGS": {"socket_connect_timeout": 60}},
            ("CONNECTION_POOL_KWARGS", "socket_connect_timeout"),
        ),
        ({"SOCKET_TIMEOUT": 60}, ("SOCKET_TIMEOUT",)),
        ({"socket_timeout": 60}, ("socket_timeout",)),
    ],
)
def test_timeouts(examine: Examine, changed: dict[str, Any], path: tuple[str, ...]) -> None:
    backends = {"SOCKET_TIMEOUT": DJANGO_REDIS, "socket_timeout": f"{BACKENDS}.redis.RedisCache"}
    entry = {
        "BACKEND": backends.get("".join(path), "warmer.stores.redis.backend.RedisCache"),
        "LOCATION": "redis://127.0.0.1:1/60",
        "OPTIONS": changed,
    }
    found = examine("timeouts", entry)
    assert found.severity == ("warning" if path else "ok")
    setting = "".join(f'["{name}"]' for name in path)
    assert found.fix == (f'CACHES["other"]["OPTIONS"]{setting} = 0.5' if path else "")
