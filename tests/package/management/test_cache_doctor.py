"""`manage.py cache_doctor`: what it prints, and its exit status. Each check: tests/package/doctor."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from config.redis_url import cache_settings
from embedded.ports import free_port
from embedded.redis_server import RedisServer
from tests.package.doctor.support import PASSWORD
from tests.support.commands import ended, execute
from warmer.doctor.check import Finding, cache_check
from warmer.doctor.diagnosis import CHECKS, diagnose

pytestmark = pytest.mark.django_db(transaction=True)

BACKENDS = "django.core.cache.backends"
# What differs between machines and runs.
MASKS = {
    r"(127\.0\.0\.1:|-p )\d+": r"\g<1>PORT",
    r"OK \([\d.]+ ms\)": "OK (N ms)",
    r"[\d.]+ [KMG]iB": "SIZE",
    r"CONFIG SET maxmemory \d+mb": "CONFIG SET maxmemory LIMITmb",
}


SHOWN = ("backend", "reachability", "writes", "maxmemory", "sentinel", "database", "broker", "workers")


def run_only(monkeypatch: pytest.MonkeyPatch, *checks: Any) -> None:
    """Make the command run these checks."""
    monkeypatch.setattr(diagnose, "__kwdefaults__", {"checks": checks})


def test_report(golden: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    run_only(monkeypatch, *(each for each in CHECKS if each.id in SHOWN))
    well = execute("cache_doctor")
    assert well.status == 0
    redis_server.stop()
    down = execute("cache_doctor")
    assert down.status == 1
    masks = MASKS | {r"^  ok +database: .*": "  ok       database: NAME"}
    golden("cache_doctor", f"{well.out}\n{down.out}\nCommandError: {down.error}\n", masks=masks)


def test_json(redis_server: RedisServer) -> None:
    done = execute("cache_doctor", "--json")
    found = json.loads(done.out)
    assert (done.status, found["status"]) == (0, 0)
    assert {each["check"] for each in found["findings"]} == {each.id for each in CHECKS}
    assert sum(found["counts"].values()) == len(found["findings"])
    assert set(found["findings"][0]) == {"check", "subject", "severity", "message", "why", "fix"}
    redis_server.stop()
    done = execute("cache_doctor", "--json")
    found = json.loads(done.out)
    assert (done.status, found["status"]) == (1, 1)
    assert [each["check"] for each in found["findings"] if each["severity"] == "error"] == ["reachability"]


def test_cache(settings: Any) -> None:
    settings.CACHES = {**settings.CACHES, "other": {"BACKEND": f"{BACKENDS}.locmem.LocMemCache"}}
    both, one = ended("cache_doctor")[1], ended("cache_doctor", "--cache", "other")[1]
    assert ("Cache 'default'\n" in both, "Cache 'other'\n" in both) == (True, True)
    assert ("Cache 'default'\n" in one, "Cache 'other'\n" in one) == (False, True)
    assert "invalid choice: 'nope'" in ended("cache_doctor", "--cache", "nope")[1]


def test_fix__is_one_line_to_paste_however_long(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": f"{BACKENDS}.filebased.FileBasedCache", "LOCATION": "/nowhere"}}
    fix = 'CACHES["default"]["BACKEND"] = "warmer.stores.redis.backend.RedisCache"\n'
    assert fix in ended("cache_doctor")[1]


@cache_check()
def breaks(cache: Any) -> Iterator[Finding]:
    """It does not."""
    raise ValueError(f"redis://:{PASSWORD}@host is odd")


def test_check_that_breaks__is_reported_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    run_only(monkeypatch, breaks, *CHECKS)
    status, printed = ended("cache_doctor")
    assert status == 1
    assert "ValueError: redis://***@host is odd." in printed
    assert re.search(r"^  ok +reachability: ", printed, flags=re.M)


def test_password__is_never_shown(settings: Any) -> None:
    for url in (f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0", f"redis://:{PASSWORD}@[::1/0"):
        entry = cache_settings("redis://127.0.0.1:1/0", max_connections=2) | {"LOCATION": url}
        settings.CACHES = {"default": entry}
        for args in ((), ("--json",)):
            status, printed = ended("cache_doctor", *args)
            assert status == 1
            assert PASSWORD not in printed


def test_cost__leaves_the_sites_keys_alone(redis_client: Redis, django_assert_max_num_queries: Any) -> None:
    redis_client.set("plain", "value")
    with django_assert_max_num_queries(12):
        ended("cache_doctor")
    assert (redis_client.get("plain"), redis_client.ttl("plain")) == (b"value", -1)
    assert {key for key in redis_client.keys("*") if b"warmer-doctor" not in key} == {b"plain"}
