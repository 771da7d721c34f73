"""System checks: each has a test that is named after its id."""

import inspect
import re
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from celery import current_app
from django.apps import apps
from django.contrib.auth.models import Group
from django.contrib.postgres.fields import ArrayField, IntegerRangeField
from django.core.checks import ERROR, WARNING, CheckMessage, run_checks
from django.db import connection, models
from django.utils.functional import SimpleLazyObject

from config.redis_url import cache_settings
from embedded.redis_cluster import RedisCluster
from myapp.models import Post
from warmer import checks, warm, warm_many
from warmer.exceptions import StoreUnavailable
from warmer.invalidation import resolve, triggers
from warmer.keys import KeyTemplate
from warmer.stores import open_store

DUMMY = "django.core.cache.backends.dummy.DummyCache"
REDIS = "django_redis.cache.RedisCache"
OURS = "warmer.stores.redis.backend.RedisCache"
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"

pytestmark = pytest.mark.usefixtures("empty_registry")


@pytest.fixture(autouse=True)
def _plain_cache(settings: Any) -> None:
    """Have a second cache, which keeps no atomic fence."""
    settings.CACHES = {**settings.CACHES, "plain": {"BACKEND": LOCMEM}}


@pytest.fixture
def celery_conf() -> Iterator[dict[str, Any]]:
    """The changed settings of the Celery app; changes end with the test."""
    changes = current_app.conf.changes
    before = dict(changes)
    yield changes
    changes.clear()
    changes.update(before)


def found(id: str, **options: Any) -> list[CheckMessage]:
    return [message for message in run_checks(tags=["warmer"], **options) if message.id == f"warmer.{id}"]


def assert_found(id: str, *, says: str, hint: str, **options: Any) -> None:
    """Assert that the check tells once, of something, what to do."""
    (message,) = found(id, **options)
    assert message.level == (ERROR if id.startswith("E") else WARNING)
    assert says in message.msg
    assert hint in str(message.hint)


def declare_keyed(name: str, **options: Any) -> None:
    warm_many(f"{name}:{{id}}", name=name, ids=list, **options)(dict)


def declare_single(name: str, **options: Any) -> None:
    warm(name, name=name, **options)(list)


def test_every_id__has_a_test_that_is_named_after_it() -> None:
    ids = set(re.findall(r'id="warmer\.(\w+)"', inspect.getsource(checks)))
    tested = {name.split("__")[0] for name in globals()}
    assert ids
    assert {f"test_{id.lower()}" for id in ids} <= tested


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"BACKEND": "django_redis.cache.RedisCach"}, 'does not define a "RedisCach"'),
        ({"BACKEND": LOCMEM, "KEY_FUNCTION": "nowhere.at_all"}, "No module named 'nowhere'"),
        ({}, "KeyError: 'BACKEND'"),
    ],
)
def test_e002__cache_that_cannot_be_used(settings: Any, entry: dict[str, Any], why: str) -> None:
    settings.CACHES = {**settings.CACHES, "broken": entry}
    declare_single("other")
    assert not found("E002")  # no job uses it
    declare_single("one", cache="broken")
    declare_single("two", cache="broken")
    assert_found("E002", says=why, hint="CACHES['broken']['BACKEND']")


@pytest.mark.parametrize("backend", [REDIS, "django.core.cache.backends.redis.RedisCache", OURS])
@pytest.mark.parametrize(
    ("location", "shown"), [("redi://app:s3cr3t@localhost:1/0", "'redi://***@localhost:1/0'"), ("localhost:1", "'***'")]
)
def test_e002__address_without_a_known_scheme(settings: Any, backend: str, location: str, shown: str) -> None:
    settings.CACHES = {**settings.CACHES, "broken": {"BACKEND": backend, "LOCATION": location}}
    declare_single("one", cache="broken")
    assert_found("E002", says=f"CACHES['broken']['LOCATION'] = {shown}: ValueError", hint="'redis://:PASSWORD@HOST")
    with pytest.raises(StoreUnavailable, match="LOCATION"):
        open_store(alias="broken", fence="f", template=KeyTemplate.parse("one", keyed=False), timeout=1.0)


@pytest.mark.parametrize(
    ("location", "options"),
    [
        ("redis://localhost:1/0", {}),
        ("rediss://localhost:1/0", {}),
        ("unix:///no/such.sock", {}),
        ("redis-cluster://localhost:1,localhost:2", {}),
        ("rediss-cluster://localhost:1", {}),
        (
            "redis://mymaster/0",
            {
                "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
                "CLIENT_CLASS": "django_redis.client.SentinelClient",
                "SENTINELS": [("localhost", 1)],
            },
        ),
    ],
)
def test_e002__accepted_addresses(settings: Any, location: str, options: dict[str, Any]) -> None:
    entry = {"BACKEND": OURS, "LOCATION": location, "OPTIONS": options}
    settings.CACHES = {**settings.CACHES, "away": entry}
    declare_single("one", cache="away")
    assert not found("E002")


tenant: ContextVar[str] = ContextVar("tenant", default="public")
required_tenant: ContextVar[SimpleNamespace] = ContextVar("required_tenant")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda key, prefix, version: f"{version}/{prefix}/{key}", ""),
        (lambda key, *_: f"{tenant.get()}:{key}", "'public:key' and 'warmer-check:key'"),
        (lambda key, *_: f"{required_tenant.get().schema}:{key}", "LookupError"),
        # As in django-tenants.
        (lambda key, *_: f"{connection.schema_name}:{key}", "'public:key' and 'warmer-check:key'"),  # type: ignore[attr-defined]
    ],
)
def test_e005__key_function_that_depends_on_the_caller(
    settings: Any, monkeypatch: pytest.MonkeyPatch, function: Any, says: str
) -> None:
    monkeypatch.setattr(connection, "schema_name", "public", raising=False)
    lazy = ModuleType("lazy")
    vars(lazy)["user"] = SimpleLazyObject(lambda: pytest.fail("It was evaluated"))
    monkeypatch.setitem(sys.modules, "lazy", lazy)
    entry = {"BACKEND": REDIS, "LOCATION": "redis://localhost:1", "KEY_FUNCTION": function}
    settings.CACHES = {**settings.CACHES, "tenants": entry}
    declare_single("other")
    assert not found("E005")  # no job uses it
    declare_single("one", cache="tenants")
    if says:
        assert_found("E005", says=says, hint="put the tenant into the id")
    else:
        assert not found("E005")
    assert (connection.schema_name, tenant.get()) == ("public", "public")  # type: ignore[attr-defined]


def test_w006__cache_that_keeps_nothing(settings: Any) -> None:
    settings.CACHES = {**settings.CACHES, "none": {"BACKEND": DUMMY}}
    declare_single("one", cache="plain")
    declare_single("two")
    assert not found("W006")
    declare_keyed("swept", cache="none", depends_on=[Post])
    assert_found("W006", says="'none'", hint="FileBasedCache")
    assert not found("W002")


def test_w001__cache_without_an_atomic_fence_in_production(settings: Any, tmp_path: Path) -> None:
    settings.DEBUG = False
    files = {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": tmp_path}
    settings.CACHES = {**settings.CACHES, "plain": files}
    declare_single("other")
    assert not found("W001")  # no job uses it
    declare_single("one", cache="plain")
    declare_single("two", cache="plain")
    assert_found("W001", says="'plain'", hint="RedisCache")
    settings.DEBUG = True
    assert not found("W001")


def test_w009__cache_in_the_memory_of_each_process(settings: Any, celery_conf: dict[str, Any]) -> None:
    settings.DEBUG = False
    assert not found("W009")  # no job uses it
    declare_single("one", cache="plain")
    assert_found("W009", says="'plain'", hint="SILENCED_SYSTEM_CHECKS")
    assert not found("W001")
    settings.DEBUG = True
    assert not found("W009")  # tasks run in this process
    celery_conf["task_always_eager"] = False
    assert found("W009")


@pytest.mark.parametrize("debug", [False, True])
def test_w002__cache_that_cannot_find_the_keys_of_a_job(settings: Any, debug: bool) -> None:
    settings.DEBUG = debug
    declare_keyed("with_ids", cache="plain", depends_on={Post: "id"})
    declare_keyed("alone", cache="plain")
    declare_single("single", cache="plain", depends_on=[Post])
    declare_keyed("on_redis", depends_on=[Post])
    assert not found("W002")
    declare_keyed("swept", cache="plain", depends_on=[Post])
    declare_keyed("also_swept", cache="plain", depends_on=["myapp.Comment"])
    assert_found("W002", says="all keys of swept, also_swept when", hint="depends_on={Model: 'field'}")


def test_w003__nothing_sends_the_scheduled_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    declare_single("never", every=None)
    with monkeypatch.context() as without_beat:
        without_beat.setattr(apps, "is_installed", lambda name: name != "django_celery_beat")
        assert not found("W003")
        declare_single("often", every=60)
        declare_single("rarely", every=1800)
        assert_found("W003", says="often, rarely:", hint="pip install warmer[beat]")
    assert not found("W003")


@pytest.mark.parametrize(
    ("accepted", "sent", "says", "hint"),
    [
        (["json", "pickle"], "json", "accepts 'json', 'pickle'. Anyone", 'CELERY_ACCEPT_CONTENT = ["json"]'),
        (["application/x-python-serialize"], "pickle", "accepts 'application/x-python-", "ACCEPT_CONTENT"),
        (["json"], "pickle", "tasks as 'pickle', which its workers do not", "CELERY_TASK_SERIALIZER = "),
        (("json", "msgpack"), "json", "", ""),
        ({"application/json"}, "json", "", ""),
    ],
)
def test_w004__tasks_that_run_code_or_are_refused(
    celery_conf: dict[str, Any], accepted: Any, sent: str, says: str, hint: str
) -> None:
    celery_conf |= {"accept_content": accepted, "task_serializer": sent}
    if says:
        assert_found("W004", says=says, hint=hint)
    else:
        assert not found("W004")


def test_w010__setting_of_a_broker_that_no_app_reads(
    celery_conf: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    celery_conf |= {"task_always_eager": False}
    assert not found("W010")
    monkeypatch.delenv("CELERY_BROKER_URL")
    celery_conf["broker_url"] = None
    assert_found("W010", says="CELERY_BROKER_URL", hint="config_from_object")


def test_w014__column_that_a_record_cannot_give_back(monkeypatch: pytest.MonkeyPatch) -> None:
    declare_keyed("tags", depends_on={Group: "id"})
    declare_single("all", depends_on=[Group])
    assert not found("W014")
    array, span = ArrayField(models.IntegerField()), IntegerRangeField()
    assert [resolve.is_readable(each) for each in (array, span)] == [True, False]
    monkeypatch.setattr(resolve, "_READABLE", ())
    assert_found("W014", says="every key of tags: warmer cannot read 'id'", hint="CharField")


def test_e004__queue_that_celery_does_not_know(celery_conf: dict[str, Any]) -> None:
    declare_single("one", queue="slow")
    assert not found("E004")
    celery_conf["task_create_missing_queues"] = False
    assert_found("E004", says="'slow' of one", hint="Queue('slow')")


def test_w005__metrics_without_the_client(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WARMER_METRICS = True
    assert not found("W005")
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    assert_found("W005", says="prometheus-client", hint="pip install warmer[metrics]")


def test_w007__capture_that_is_not_chosen(settings: Any) -> None:
    settings.WARMER_CAPTURE = ""
    assert not found("W007")  # nothing depends on the database
    declare_single("one", depends_on=[Post])
    assert_found("W007", says="signals", hint="WARMER_CAPTURE = 'triggers'")
    settings.WARMER_CAPTURE = "signals"
    assert not found("W007")


def test_e003__database_that_has_no_triggers(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WARMER_CAPTURE = "triggers"
    declare_single("one", depends_on=[Post])
    assert not found("E003")
    monkeypatch.setattr(connection, "vendor", "oracle")
    assert_found("E003", says="'default' (oracle)", hint="WARMER_CAPTURE = 'signals'")
    settings.WARMER_CAPTURE = "signals"
    assert not found("E003")


@pytest.mark.django_db
def test_w008__table_without_triggers(settings: Any) -> None:
    settings.WARMER_CAPTURE = "triggers"
    declare_single("one", depends_on=[Post])
    triggers.remove("default")
    fix = "manage.py warm_triggers --database default"
    assert_found("W008", says="myapp_post on 'default'", hint=fix, databases=["default"])
    assert not found("W008")  # a check that may not ask the database
    triggers.install("default")
    assert not found("W008", databases=["default"])


ROUTER = SimpleNamespace(  # reads go to a replica, and our tables are not allowed anywhere
    db_for_read=lambda model, **_: "replica",
    db_for_write=lambda model, **_: "default",
    allow_migrate=lambda using, app_label, **_: app_label != "warmer",
)


def test_w011__router_keeps_the_records_off_a_database(settings: Any) -> None:
    declare_single("posts", depends_on=[Post])
    settings.DATABASE_ROUTERS = [ROUTER]
    assert_found("W011", says="'default'", hint="changerecord")


def test_w012__beat_reads_its_schedule_from_a_replica(settings: Any) -> None:
    declare_single("posts", every=60)
    settings.DATABASE_ROUTERS = [ROUTER]
    assert_found("W012", says="'replica'", hint="django_celery_beat")


def test_w013__default_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    declare_single("posts", every=60)
    monkeypatch.setitem(connection.settings_dict, "ENGINE", "django.db.backends.dummy")
    assert_found("W013", says="beat does not start", hint="'default'")


@pytest.mark.django_db(transaction=True)
def test_w015__cluster_at_the_address_of_a_single_server(cluster: RedisCluster, settings: Any) -> None:
    declare_single("posts")
    settings.CACHES = {"default": cache_settings(cluster.nodes[0].url(), max_connections=5)}
    says, hint = "is a node of a Redis Cluster", "redis-cluster://"
    assert_found("W015", says=says, hint=hint, databases=["default"])
    assert not found("W015")  # which connects to nothing
    settings.CACHES = {"default": cache_settings("redis://127.0.0.1:1/0", max_connections=5)}
    assert not found("W015", databases=["default"])  # it may be down for now


def test_e006__beat_writes_times_with_a_zone_where_use_tz_is_off(settings: Any) -> None:
    declare_single("posts", every=60)
    settings.USE_TZ = False
    assert_found("E006", says="hours early or late", hint="DJANGO_CELERY_BEAT_TZ_AWARE = False")
    settings.DJANGO_CELERY_BEAT_TZ_AWARE = False
    assert not found("E006")
