"""`manage.py cache_doctor`: what it prints, and its exit status. Each check: tests/integration/doctor."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from redis import Redis

from config.redis_url import cache_settings
from embedded.ports import free_port
from embedded.redis_server import RedisServer
from tests.integration.commands import ended
from tests.integration.doctor.looking import PASSWORD
from warmer.doctor.catalogue import CACHE_CHECKS, PROJECT_CHECKS
from warmer.doctor.check import CacheCheck
from warmer.doctor.finding import Finding
from warmer.management.commands import cache_doctor

pytestmark = pytest.mark.django_db(transaction=True)

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
FILES = "django.core.cache.backends.filebased.FileBasedCache"


def run(*args: str) -> tuple[int, str]:
    """Return the exit status, and everything that was printed."""
    return ended("cache_doctor", *args)


def block(printed: str, label: str, check: str) -> str:
    """Return what is printed of one finding, in one line."""
    found = re.search(rf"^  {label} +{check}\n((?: {{11}}.*\n)+)", printed, flags=re.M)
    assert found, printed
    return " ".join(found[1].split())


def test_status__is_0_without_an_error() -> None:
    status, printed = run()
    assert status == 0
    assert re.search(r"^  ok +reachability: 127\.0\.0\.1:\d+/0 answers$", printed, flags=re.M)
    assert "ERROR" not in printed
    assert printed.endswith("not checked.\n")


def test_finding__has_seen_why_and_fix(redis_server: RedisServer) -> None:
    _, printed = run()
    text = block(printed, "WARNING", "maxmemory")
    assert text.startswith("seen maxmemory is 0: there is no limit.")
    assert " why The server grows until " in text
    assert f" fix redis-cli -h 127.0.0.1 -p {redis_server.port} CONFIG SET maxmemory 256mb and in " in text


def test_fix__is_one_line_to_copy_however_long(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": FILES, "LOCATION": "/nowhere"}}
    _, printed = run()
    fix = '["OPTIONS"]["SERIALIZER"] = "warmer.serializers.MsgspecSerializer"\n'
    assert f'CACHES["default"]{fix}' in printed


def test_errors__come_first_and_are_named_at_the_end(redis_server: RedisServer) -> None:
    redis_server.stop()
    status, printed = run()
    assert status == 1
    lines = printed.splitlines()
    assert lines[0] == "Cache 'default'"
    assert re.fullmatch(r"  ERROR +reachability", lines[1])
    assert "refuses the connection" in block(printed, "ERROR", "reachability")
    assert "not checked, as reachability failed: writes, " in printed
    assert lines[-1] == "Wrong: reachability of the cache 'default'."


def test_json__is_all_that_is_printed() -> None:
    status, printed = run("--json")
    told = json.loads(printed)
    assert (status, told["status"]) == (0, 0)
    checks = {each["check"] for each in told["findings"] + told["not_checked"]}
    assert checks == {each.id for each in (*CACHE_CHECKS, *PROJECT_CHECKS)}
    assert sum(told["counts"].values()) == len(told["findings"])
    assert set(told["findings"][0]) == {"check", "subject", "severity", "seen", "why", "fix"}


def test_json__with_an_error(redis_server: RedisServer) -> None:
    redis_server.stop()
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("cache_doctor", "--json", stdout=out)
    assert caught.value.returncode == 1
    told = json.loads(out.getvalue())
    assert told["status"] == 1
    assert [each["check"] for each in told["findings"] if each["severity"] == "error"] == ["reachability"]


def test_cache__one_of_several(settings: Any) -> None:
    settings.CACHES = {
        **settings.CACHES,
        "other": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    }
    _, printed = run()
    assert "Cache 'default'\n" in printed
    assert "Cache 'other'\n" in printed
    _, printed = run("--cache", "other")
    assert "Cache 'default'\n" not in printed
    assert block(printed, "WARNING", "backend").startswith(f"seen {LOCMEM} is in the memory")


def test_cache__unknown_is_usage() -> None:
    assert run("--cache", "nope") == (2, "There is no cache 'nope': CACHES has 'default'.")


def test_file_cache__says_what_was_not_checked(settings: Any, tmp_path: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": FILES, "LOCATION": tmp_path}}
    status, printed = run()
    assert status == 0
    text = " ".join(printed.split())
    assert "ok reachability: a key was written, read back and removed" in text
    assert "not checked, as it is not one Redis server: writes, timeouts, exposure, persistence" in text


class Breaks(CacheCheck):
    id = "breaks"

    def look(self, cache: Any, project: Any) -> Iterator[Finding]:
        raise ValueError(f"redis://:{PASSWORD}@host is odd")


def test_check_that_breaks__is_told_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_doctor, "CACHE_CHECKS", (Breaks(), *CACHE_CHECKS))
    status, printed = run()
    assert status == 1
    assert block(printed, "FAILED", "breaks").startswith(
        "seen The check itself failed: ValueError: redis://***@host is odd. why Nothing is known here."
    )
    assert re.search(r"^  ok +reachability: ", printed, flags=re.M)
    assert "Wrong: breaks of the cache 'default'." in printed


def test_password__is_never_shown(settings: Any) -> None:
    for url in (f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0", f"redis://:{PASSWORD}@[::1/0"):
        entry = cache_settings("redis://127.0.0.1:1/0", max_connections=2) | {"LOCATION": url}
        settings.CACHES = {"default": entry}
        for args in ((), ("--json",)):
            status, printed = run(*args)
            assert status == 1
            assert PASSWORD not in printed


def test_keys_of_the_site__are_left_alone(redis_client: Redis) -> None:
    redis_client.set("plain", "value")
    run()
    assert redis_client.get("plain") == b"value"
    assert redis_client.ttl("plain") == -1
    assert [key for key in redis_client.keys("*") if b"warmer-doctor" not in key] == [b"plain"]


def test_queries__are_few(django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(12):
        run()
