"""The backend of a cache, its key function and its timeouts."""

from contextvars import ContextVar
from typing import Any

import pytest
from django.core.cache.backends.locmem import LocMemCache

from tests.package.doctor.support import BACKENDS, USED, Examine, cache_entry, expect
from warmer.doctor.checks.connection import unusable

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


@pytest.mark.parametrize(
    ("problem", "package"),
    [
        ("Could not find backend 'x': No module named 'django_redis'", "django-redis"),
        ("ImportError: warmer.serializers needs msgspec: run 'pip install warmer[msgspec]'", "msgspec"),
    ],
)
def test_backend__library_is_not_installed(problem: str, package: str) -> None:
    assert unusable("default", problem).fix.startswith(f"pip install {package}\n")


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, ""),
        ({"CONNECTION_POOL_KWARGS": {"socket_timeout": None}}, "SOCKET_TIMEOUT"),
        ({"CONNECTION_POOL_KWARGS": {"socket_connect_timeout": 60}}, "SOCKET_CONNECT_TIMEOUT"),
        ({"SOCKET_TIMEOUT": 60}, "SOCKET_TIMEOUT"),
    ],
)
def test_timeouts(examine: Examine, changed: dict[str, Any], name: str) -> None:
    entry = {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://127.0.0.1:1/60", "OPTIONS": {"SOCKET_TIMEOUT": 1} | changed}
    entry["OPTIONS"].setdefault("SOCKET_CONNECT_TIMEOUT", 1)
    found = examine("timeouts", entry)
    assert found.severity == ("warning" if name else "ok")
    assert found.fix.startswith(f'CACHES["other"]["OPTIONS"]["{name}"] = 0.5' if name else "")


class WithoutRedis(LocMemCache):
    """Like Django's own Redis cache where redis is not installed: only a call finds out."""

    def _missing(self, *args: Any, **kwargs: Any) -> Any:
        raise ModuleNotFoundError("No module named 'redis'")

    get = get_many = set_many = delete = delete_many = add = set = _missing  # type: ignore[assignment]


def test_reachability__without_the_package_of_a_backend(examine: Examine) -> None:
    found = examine("reachability", {"BACKEND": f"{__name__}.WithoutRedis"})
    expect(found, "error", says="No module named 'redis'", fix="pip install redis\n")
