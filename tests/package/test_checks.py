"""System checks: each has a test that is named after its id."""

import inspect
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.contrib.postgres.fields import ArrayField, IntegerRangeField
from django.db import connection, models

from myapp.models import Post
from tests.support.checks import assert_found, declare_keyed, declare_single, found
from tests.support.fixtures import install_triggers
from warmer import checks
from warmer.doctor import checks as found_by
from warmer.invalidation import resolve, triggers
from warmer.invalidation.records import forget_tables
from warmer.models import ChangeRecord

pytestmark = pytest.mark.usefixtures("empty_registry")


def test_every_id__has_a_test_that_is_named_after_it() -> None:
    modules = [checks, *(vars(found_by)[name] for name in ("celery", "connection", "jobs"))]
    ids = {id for each in modules for id in re.findall(r'"warmer\.([EW]\d+)"', inspect.getsource(each))}
    files = Path(__file__).parent.glob("test_checks*.py")
    tested = {name for file in files for name in re.findall(r"^def (test_[a-z]\d+)__", file.read_text(), re.MULTILINE)}
    assert ids
    assert {f"test_{id.lower()}" for id in ids} <= tested


def test_w003__nothing_sends_the_scheduled_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    declare_single("never", every=None)
    with monkeypatch.context() as without_beat:
        without_beat.setattr(apps, "is_installed", lambda name: name != "django_celery_beat")
        assert not found("W003")
        declare_single("often", every=60)
        declare_single("rarely", every=1800)
        assert_found("W003", says="often, rarely:", hint='pip install "warmer[beat]"')
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
    celery_conf: dict[str, Any], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    celery_conf |= {"task_always_eager": False}
    assert not found("W010")
    monkeypatch.delenv("CELERY_BROKER_URL")
    celery_conf["broker_url"] = None
    assert_found("W010", says="CELERY_BROKER_URL: tasks go to Celery's default", hint="config_from_object")
    celery_conf["broker_url"] = settings.BROKER_URL = settings.CELERY_BROKER_URL
    assert not found("W010")
    settings.BROKER_URL = "redis://of-an-app-without-a-namespace:6379"
    assert_found("W010", says="reads BROKER_URL: tasks go to another broker", hint="without a namespace, BROKER_URL")


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


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("redsi://host/0", "Did you mean redis?"),
        ("redis://:pass/word@host/0", "cannot be parsed"),
        ("rediss//host/0", "cannot be parsed"),
        ("redis://host/0;redis:/other/0", "cannot be parsed"),
    ],
)
def test_w017__broker_that_celery_cannot_use(celery_conf: dict[str, Any], address: str, says: str) -> None:
    celery_conf |= {"task_always_eager": False}
    assert not found("W017")
    celery_conf["broker_write_url"] = address
    assert_found("W017", says=says, hint="redis://")


def test_w005__metrics_without_the_client(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WARMER_METRICS = True
    assert not found("W005")
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    assert_found("W005", says="prometheus-client", hint='pip install "warmer[metrics]"')


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
    fix = "'manage.py warm_triggers --database default'. If 'manage.py migrate' prints this, it installs missing"
    assert_found("W008", says="myapp_post on 'default'", hint=fix, databases=["default"])
    assert not found("W008")  # a check that may not ask the database
    install_triggers()
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


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("capture", ["triggers", "signals"])
def test_w011__table_is_missing_although_its_migration_is_applied(settings: Any, capture: str) -> None:
    settings.WARMER_CAPTURE = capture
    declare_single("posts", depends_on=[Post])
    assert not found("W011", databases=["default"])
    with connection.schema_editor() as editor:
        editor.alter_db_table(ChangeRecord, "warmer_changerecord", "elsewhere")
    forget_tables()
    try:
        assert_found("W011", says="'default'", hint="migrate warmer zero --fake", databases=["default"])
        assert not found("W011")  # a check that may not ask the database
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(ChangeRecord, "elsewhere", "warmer_changerecord")
        forget_tables()


def test_w012__beat_reads_its_schedule_from_a_replica(settings: Any) -> None:
    declare_single("posts", every=60)
    settings.DATABASE_ROUTERS = [ROUTER]
    assert_found("W012", says="'replica'", hint="django_celery_beat")


def test_w013__default_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    declare_single("posts", every=60)
    monkeypatch.setitem(connection.settings_dict, "ENGINE", "django.db.backends.dummy")
    assert_found("W013", says="beat does not start", hint="'default'")


def test_e006__beat_writes_times_with_a_zone_where_use_tz_is_off(settings: Any) -> None:
    declare_single("posts", every=60)
    settings.USE_TZ = False
    assert_found("E006", says="hours early or late", hint="DJANGO_CELERY_BEAT_TZ_AWARE = False")
    settings.DJANGO_CELERY_BEAT_TZ_AWARE = False
    assert not found("E006")
