"""Health for load balancers: what `/healthz` and `/readyz` answer, on servers in the state they speak of."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from embedded.redis_server import RedisServer
from warmer import jobs, warm
from warmer.invalidation import captures_by_triggers, triggers
from warmer.models import State, Trigger, WarmingRun
from warmer.monitoring import health
from warmer.stores import breaker

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_jobs")]

TRIGGERS = ["triggers:default"] if captures_by_triggers() else []
CHECKS = ["database:default", "migrations:default", *TRIGGERS, "cache:default"]
WELL = {name: {"ok": True} for name in CHECKS}


@pytest.fixture(autouse=True)
def _as_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_warmed", set())
    monkeypatch.setattr(health, "_migrated", set())
    monkeypatch.setattr(health, "STARTED_AT", timezone.now())


def asked(path: str = "/readyz", **headers: str) -> tuple[int, dict[str, Any]]:
    response = Client().get(path, headers=headers)
    return response.status_code, json.loads(response.content)


def why(name: str) -> str:
    """Return what `/readyz` says of a check that fails."""
    status, answer = asked()
    assert status == 503
    assert not answer["ok"]
    assert not answer["checks"][name]["ok"]
    return str(answer["checks"][name]["why"])


def ran(job: str, *, ago: timedelta = timedelta(0), **fields: Any) -> None:
    """Put a run that ended into the ledger."""
    ended = timezone.now() - ago
    known = {"trigger": Trigger.DEPLOY, "state": State.COMPLETE, "expires_at": ended, "finished_at": ended}
    WarmingRun.objects.create(job=job, **known | fields)


def all_ran(**how: Any) -> None:
    for name in jobs:
        ran(name, **how)


# -- the process -----------------------------------------------------------------------------------
def test_healthz__asks_nothing(no_database: None, redis_server: RedisServer) -> None:
    redis_server.stop()
    assert asked("/healthz") == (200, {"ok": True})


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_answer__is_never_cached_and_only_to_get_and_head(path: str) -> None:
    client = Client()
    response = client.get(path)
    assert {"no-store", "no-cache", "private"} <= set(response["Cache-Control"].split(", "))
    assert response["Content-Type"] == "application/json"
    assert "Set-Cookie" not in response
    head: HttpResponse = client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert [method(path).status_code for method in (client.post, client.put, client.delete)] == [405] * 3


def test_host__is_checked_as_of_any_page(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["example.org"]
    assert Client().get("/readyz", headers={"host": "other.example"}).status_code == 400
    assert asked("/readyz", host="example.org")[0] == 200


# -- the servers -----------------------------------------------------------------------------------
def test_readyz__cache_down(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "monotonic", lambda: 100.0)
    assert asked() == (200, {"ok": True, "checks": WELL})
    redis_server.stop()
    for _ in range(2):  # the second time the circuit is open
        assert why("cache:default") == "does not answer as expected (ConnectionError; see the log)"
    assert f"127.0.0.1:{redis_server.port}" in caplog.text
    redis_server.start()
    assert asked()[0] == 200


def test_readyz__asks_each_cache_that_a_job_uses(settings: Any) -> None:
    away = {**settings.CACHES["default"], "LOCATION": "redis://:s3cr3t@127.0.0.1:1/0"}
    settings.CACHES = {**settings.CACHES, "away": away, "unused": away}
    warm("elsewhere", name="elsewhere", cache="away")(lambda: 1)
    assert "ConnectionError" in why("cache:away")
    caches = {name: check["ok"] for name, check in asked()[1]["checks"].items() if name.startswith("cache:")}
    assert caches == {"cache:default": True, "cache:away": False}


@pytest.mark.parametrize("atomic_requests", [False, True])
def test_readyz__database_down(
    atomic_requests: bool,
    no_database: None,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic_requests)
    away = {**settings.CACHES["default"], "LOCATION": "redis://user:s3cr3t@127.0.0.1:1/0"}
    settings.CACHES = {"default": away}
    status, answer = asked()
    assert status == 503
    # Without the database it is not known which migrations were applied.
    assert set(answer["checks"]) == {"database:default", "cache:default"}
    assert why("database:default") == "does not answer as expected (OperationalError; see the log)"
    assert "Not ready: database:default: OperationalError" in caplog.text
    secrets = ("s3cr3t", "user", "127.0.0.1", "no-such-database")
    assert not [secret for secret in secrets if secret in json.dumps(answer)]


def test_readyz__read_only_database_degrades_and_does_not_fail() -> None:
    is_known = connection.vendor == "postgresql"
    if is_known:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL transaction_read_only = on")
    status, answer = asked()
    assert (status, answer["ok"], set(answer["checks"])) == (200, True, set(CHECKS))
    assert answer.get("degraded", []) == (["database:default"] if is_known else [])
    assert ("why" in answer["checks"]["database:default"]) == is_known


def test_readyz__migrations() -> None:
    recorder = MigrationRecorder(connection)
    recorder.record_applied("users", "0999_of_a_later_release")
    recorder.record_unapplied("users", "0001_custom_user")
    assert why("migrations:default").startswith("not applied: ")
    assert "users.0001_custom_user" in why("migrations:default")
    recorder.record_applied("users", "0001_custom_user")
    assert asked()[0] == 200


def test_readyz__missing_triggers_degrade_and_do_not_fail(settings: Any) -> None:
    triggers.remove("default")
    status, answer = asked()
    assert (status, answer["ok"]) == (200, True)
    assert answer.get("degraded", []) == TRIGGERS
    if TRIGGERS:
        assert answer["checks"]["triggers:default"]["why"].startswith("not captured: users_customuser, ")
    settings.WARMER_READY_REQUIRES_WARM = True
    assert "user_profiles" in why("warm")


def test_readyz__costs_few_queries_when_asked_again(settings: Any) -> None:
    settings.WARMER_READY_REQUIRES_WARM = True
    all_ran()
    assert asked()[0] == 200
    with CaptureQueriesContext(connection) as queries:
        assert asked()[0] == 200
    # An answer, whether it is read-only, the triggers.
    assert len(queries) == 1 + (connection.vendor == "postgresql") + len(TRIGGERS)


# -- the warm --------------------------------------------------------------------------------------
@pytest.fixture
def _required(settings: Any) -> None:
    settings.WARMER_READY_REQUIRES_WARM = True


@pytest.mark.usefixtures("_required")
def test_warm__waits_for_every_required_job() -> None:
    warm("optional", name="optional", required=False)(lambda: 1)
    first, *others = (name for name in jobs if name != "optional")
    for name in others:
        ran(name)
    assert why("warm") == f"no complete run since their timeout before this process started: {first}"
    ran(first)
    assert asked() == (200, {"ok": True, "checks": WELL | {"warm": {"ok": True}}})


@pytest.mark.usefixtures("_required")
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        *(({"state": state}, 200 if state is State.COMPLETE else 503) for state in State),
        *(({"trigger": trigger}, 503 if trigger is Trigger.CHANGE else 200) for trigger in Trigger),
        ({"only_keys": ["post:1"]}, 503),
        # A run of before the process counts while its keys live: those of all jobs for an hour.
        ({"ago": timedelta(minutes=59)}, 200),
        ({"ago": timedelta(minutes=61)}, 503),
    ],
)
def test_warm__runs_that_count(fields: dict[str, Any], status: int) -> None:
    all_ran(**fields)
    assert asked()[0] == status


@pytest.mark.usefixtures("_required")
def test_warm__by_a_real_run_stays_so(make_user: Any) -> None:
    make_user()
    assert "user_profiles" in why("warm")
    call_command("warm_cache", "--inline", verbosity=0)
    assert asked()[0] == 200
    WarmingRun.objects.all().delete()
    all_ran(state=State.FAILED)
    assert asked()[0] == 200


@pytest.mark.usefixtures("_required")
def test_warm__since_a_given_moment(settings: Any) -> None:
    deployed = timezone.now() - timedelta(minutes=5)
    settings.WARMER_READY_WARM_SINCE = deployed.isoformat()
    all_ran(ago=timedelta(minutes=6))
    assert why("warm").startswith(f"no complete run since {deployed.isoformat()}: ")
    all_ran(ago=timedelta(minutes=4))
    assert asked()[0] == 200
