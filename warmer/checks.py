"""System checks: problems of the set-up, each with its fix."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DEFAULT_DB_ALIAS, connections, router

from warmer import tasks
from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.doctor.check import Finding
from warmer.doctor.checks.celery import without_beat
from warmer.doctor.checks.connection import fix_for, unsuitable, unusable
from warmer.doctor.checks.jobs import BY_SIGNALS, without_table
from warmer.exceptions import NodeOfCluster, StoreUnavailable
from warmer.invalidation import captures_by_triggers, triggers
from warmer.invalidation.records import is_dummy
from warmer.invalidation.resolve import is_readable
from warmer.invalidation.sources import sources
from warmer.models import ChangeRecord
from warmer.stores import Place, is_fenced, is_local, why_unusable


@register("warmer")
def check_caches(**_kwargs: Any) -> Iterable[CheckMessage]:
    """E002, E005, W001, W002, W006, W009: a cache that cannot be used or shared, whose keys have several
    names, that keeps nothing, or has no atomic fence."""
    is_one_process = settings.DEBUG and not tasks.has_broker()
    for alias in sorted({spec.cache for spec in jobs.specs()}):
        problem = why_unusable(alias)
        finding = unusable(alias, problem) if problem else unsuitable(alias)
        is_w009 = finding is not None and finding.check == "warmer.W009"
        if finding and not (is_w009 and is_one_process):
            yield _message(finding)
        if finding is None or is_w009:
            yield from _weaknesses(alias)


def _message(finding: Finding) -> CheckMessage:
    """Return a finding of the doctor that is a system check, too."""
    kind = Error if finding.check.startswith("warmer.E") else Warning
    return kind(f"{finding.message} {finding.why}", hint=finding.fix, id=finding.check)


def _weaknesses(alias: str) -> Iterable[CheckMessage]:
    if is_fenced(alias):
        return
    if not is_local(alias) and not settings.DEBUG:
        yield Warning(
            f"The cache {alias!r} cannot keep the fence in one atomic step.",
            hint="An old value may be seen for a moment after an invalidation. Use "
            "django_redis.cache.RedisCache or Django's own RedisCache, which work with Valkey too.",
            id="warmer.W001",
        )
    sweeping = [
        spec.name
        for spec in jobs.specs()
        if spec.cache == alias and spec.keyed and any(d.ids is None for d in spec.depends_on)
    ]
    if sweeping:
        yield Warning(
            f"The cache {alias!r} cannot find all keys of {', '.join(sweeping)} "
            "when a model of depends_on changes: they stay until their timeout.",
            hint="Use a Redis cache, or say which ids a change concerns: depends_on={Model: 'field'}.",
            id="warmer.W002",
        )


@register("warmer")
def check_capture(**_kwargs: Any) -> Iterable[CheckMessage]:
    """W007, W011, E003: changes that signals do not report, databases without our table or triggers."""
    if not any(spec.depends_on for spec in jobs.specs()):
        return
    if not conf.CAPTURE:
        yield _message(BY_SIGNALS)
    for alias in triggers.needed():
        vendor = connections[alias].vendor
        if captures_by_triggers() and vendor not in triggers.VENDORS:
            yield Error(
                f"The database {alias!r} ({vendor}) cannot capture changes by triggers.",
                hint="Set WARMER_CAPTURE = 'signals', or use PostgreSQL or SQLite.",
                id="warmer.E003",
            )
        elif not router.allow_migrate_model(alias, ChangeRecord):
            yield _message(without_table(alias, "where DATABASE_ROUTERS do not allow warmer's table"))


@register("warmer", Tags.database)
def check_tables(databases: Iterable[str] | None = None, **_kwargs: Any) -> Iterable[CheckMessage]:
    """W011: databases that lack our table although it was migrated. Only by `check --database`, `migrate`."""
    for alias in triggers.unrecorded() if databases else ():
        if router.allow_migrate_model(alias, ChangeRecord):
            yield _message(without_table(alias))


@register("warmer")
def check_ids(**_kwargs: Any) -> Iterable[CheckMessage]:
    """W014: columns whose recorded values cannot be read back."""
    dependents = [each for source in sources().by_name.values() for each in source.dependents]
    found = dict.fromkeys((each.spec.name, field) for each in dependents for field in each.fields)
    for name, field in found:
        if not is_readable(field):
            yield Warning(
                f"A change of {field.model._meta.label} invalidates every key of {name}: warmer cannot read "
                f"{field.name!r}, a {type(field).__name__}, from a recorded change.",
                hint="Name a column of text, numbers, dates or UUIDs, or an array of them. Derive a field of "
                "your own from one of these, e.g. CharField. Or use a list of models, to mean every key.",
                id="warmer.W014",
            )


@register("warmer", Tags.database)
def check_triggers(databases: Iterable[str] | None = None, **_kwargs: Any) -> Iterable[CheckMessage]:
    """W008: tables whose changes no trigger records. Only by `check --database` and `migrate`."""
    if not databases or not captures_by_triggers():  # without databases, none must be queried
        return
    for problem in triggers.problems(*databases):
        by_migrate = "If 'manage.py migrate' prints this, it installs missing triggers at its end."
        yield Warning(
            f"{problem.table} on {problem.using!r} {problem.why}: some changes leave old values in the "
            "cache.",
            hint=f"{problem.fix} {by_migrate}",
            id="warmer.W008",
        )


@register("warmer", Tags.database)
def check_servers(databases: Iterable[str] | None = None, **_kwargs: Any) -> Iterable[CheckMessage]:
    """W015: a single server that is a node of a Redis Cluster. Only by `check --database` and `migrate`."""
    for spec in {spec.cache: spec for spec in jobs.specs()}.values() if databases else ():
        try:
            spec.store.ping()
        except NodeOfCluster as error:
            hint = fix_for("NodeOfCluster", Place(text="", host="HOST", port=6379), "", alias=spec.cache)
            yield Warning(str(error), hint=hint, id="warmer.W015")
        except StoreUnavailable:
            pass  # it may be down for now


@register("warmer")
def check_schedule(**_kwargs: Any) -> Iterable[CheckMessage]:
    """E006, W003, W012, W013: scheduled jobs that beat does not send, or does not see."""
    scheduled = [spec.name for spec in jobs.specs() if spec.every is not None]
    if scheduled and not apps.is_installed("django_celery_beat"):
        yield _message(without_beat(scheduled))
    elif scheduled:
        entry = apps.get_model("django_celery_beat", "PeriodicTask")
        reads, writes = router.db_for_read(entry), router.db_for_write(entry)
        if reads != writes:
            yield Warning(
                f"Beat reads its schedule from the database {reads!r}, but it is written to {writes!r}: "
                "until these are in sync, beat sends nothing, or follows an old schedule.",
                hint=f"Make db_for_read() of your router return {writes!r} for 'django_celery_beat', too.",
                id="warmer.W012",
            )
        if not settings.USE_TZ and getattr(settings, "DJANGO_CELERY_BEAT_TZ_AWARE", True):
            yield Error(
                "USE_TZ is off, and django_celery_beat writes aware times: SQLite and MySQL reject "
                "them, and on PostgreSQL beat sends hours early or late.",
                hint="Set DJANGO_CELERY_BEAT_TZ_AWARE = False, or USE_TZ = True.",
                id="warmer.E006",
            )
        if is_dummy(DEFAULT_DB_ALIAS):
            yield Warning(
                "DATABASES['default'] is empty, and django_celery_beat's scheduler commits there: beat does "
                "not start.",
                hint=f"Rename {writes!r} to 'default'.",
                id="warmer.W013",
            )


@register("warmer")
def check_celery(**_kwargs: Any) -> Iterable[CheckMessage]:
    """E004, W004, W010, W017: Celery's message format, queues and broker."""
    if problem := tasks.problem_of_formats():
        yield Warning(f"{problem.message} {problem.why}", hint=problem.fix, id="warmer.W004")
    if unread := tasks.unread_setting():
        broker = "another broker" if tasks.has_broker() else "Celery's default broker"
        message = f"No Celery app reads {unread}: tasks go to {broker}."
        yield Warning(message, hint=tasks.NAMESPACE, id="warmer.W010")
    if why := tasks.problem_of_address():
        # Not an error, which would stop `migrate`, and `warm_cache`, which works without a broker.
        hint = "Set CELERY_BROKER_URL to e.g. 'redis://:PASSWORD@HOST:PORT/0', with %40 for @ and %2F for /."
        yield Warning(f"{why}: no run can be sent to it.", hint=hint, id="warmer.W017")
    for queue in tasks.undeclared_queues():
        names = ", ".join(spec.name for spec in jobs.specs() if spec.queue == queue)
        yield Error(
            f"CELERY_TASK_QUEUES does not declare the queue {queue!r} of {names or 'the upkeep'}, and "
            "CELERY_TASK_CREATE_MISSING_QUEUES is off: nothing can be sent to it.",
            hint=f"Add kombu's Queue({queue!r}) to CELERY_TASK_QUEUES, and let a worker consume it.",
            id="warmer.E004",
        )


@register("warmer")
def check_metrics(**_kwargs: Any) -> Iterable[CheckMessage]:
    """W005: metrics are on, but their library is not installed."""
    if conf.METRICS and find_spec("prometheus_client") is None:
        yield Warning(
            "WARMER_METRICS is on, but prometheus-client is not installed: /metrics answers 404.",
            hint='Run: pip install "warmer[metrics]"',
            id="warmer.W005",
        )
