"""The backend of a cache, its key function and its timeouts."""

import sys
from contextvars import ContextVar
from typing import Any

import pytest

from tests.package.doctor.support import BACKENDS, USED, Examine, cache_entry


@pytest.mark.parametrize(
    ("backend", "severity", "fix"),
    [
        ("django_redis.cache.RedisCache", "ok", ""),
        ("myapp.no_such.Cache", "error", 'CACHES["other"]["BACKEND"] = ...'),
        (f"{BACKENDS}.locmem.LocMemCache", "warning", 'CACHES["other"]["BACKEND"] = "warmer.stores.'),
        (f"{BACKENDS}.dummy.DummyCache", "error", 'CACHES["other"]["BACKEND"] = "warmer.stores.'),
    ],
)
def test_backend(examine: Examine, backend: str, severity: str, fix: str) -> None:
    entry = {"BACKEND": backend, "LOCATION": "redis://app:s3cr3t@127.0.0.1:1/0"}
    found = examine("backend", entry, specs=USED)
    assert found.severity == severity
    assert backend in found.message
    assert found.fix.startswith(fix)
    if backend.startswith(BACKENDS):
        unused = examine("backend", entry)
        assert (unused.severity, "s3cr3t" in unused.message) == ("ok", False)


def test_backend__address_without_a_known_scheme(examine: Examine) -> None:
    entry = cache_entry("redis://127.0.0.1:1/0") | {"LOCATION": "redi://app:s3cr3t@127.0.0.1:1/0"}
    found = examine("backend", entry, specs=USED)
    assert found.severity == "error"
    assert "'redi://***@127.0.0.1:1/0'" in found.message
    assert found.fix.startswith('CACHES["other"]["LOCATION"] = "redis://')
    assert examine("same-cache", entry, specs=USED).message == "backend failed"


tenant: ContextVar[str] = ContextVar("tenant", default="public")


def tenants_key(key: str, prefix: str, version: int) -> str:
    return f"{tenant.get()}:{key}"


def test_backend__key_function_that_depends_on_the_caller(examine: Examine) -> None:
    entry = cache_entry("redis://127.0.0.1:1/0") | {"KEY_FUNCTION": tenants_key}
    found = examine("backend", entry, specs=USED)
    assert found.severity == "error"
    assert "'public:key'" in found.message
    assert found.fix.startswith('CACHES["other"]["KEY_FUNCTION"] = None\n')
    assert examine("backend", entry).severity == "ok"  # no job uses it


def test_backend__library_is_not_installed(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "django_redis", None)  # as Python knows a missing module
    found = examine("backend", "redis://127.0.0.1:1/0")
    assert found.severity == "error"
    assert found.fix.startswith("pip install django-redis\n")


@pytest.mark.parametrize(
    ("pool", "option"),
    [
        ({}, ""),
        ({"socket_timeout": None}, "socket_timeout"),
        ({"socket_timeout": 60}, "socket_timeout"),
        ({"socket_connect_timeout": 60}, "socket_connect_timeout"),
    ],
)
def test_timeouts(examine: Examine, pool: Any, option: str) -> None:
    found = examine("timeouts", cache_entry("redis://127.0.0.1:1/0", **pool))
    assert found.severity == ("warning" if option else "ok")
    setting = f'CACHES["other"]["OPTIONS"]["CONNECTION_POOL_KWARGS"]["{option}"] = 0.5'
    assert found.fix == (setting if option else "")


@pytest.mark.parametrize(
    ("backend", "option"),
    [
        ("django_redis.cache.RedisCache", "SOCKET_TIMEOUT"),
        ("django.core.cache.backends.redis.RedisCache", "socket_timeout"),
    ],
)
def test_timeouts__of_another_backend(examine: Examine, backend: str, option: str) -> None:
    entry = {"BACKEND": backend, "LOCATION": "redis://127.0.0.1:1/60", "OPTIONS": {option: 60}}
    assert examine("timeouts", entry).fix == f'CACHES["other"]["OPTIONS"]["{option}"] = 0.5'
