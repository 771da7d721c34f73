"""Metrics: a scrape says what is so, whichever process answers it, at a bounded cost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as project_settings
from django.core.cache import cache
from django.db import OperationalError, connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from embedded.redis_server import RedisServer
from tests.integration.waiting import make_waiting
from tests.races.processes import address_of_the_database
from warmer import jobs, runs, warm, warm_many
from warmer.filling import read_counters
from warmer.models import JobObservation, RunTotal, Trigger, WarmingRun
from warmer.monitoring.audit import perform
from warmer.monitoring.observation import observe_all
from warmer.runs import open_run
from warmer.runs.execution import execute

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

Labels = Mapping[str, str]


@pytest.fixture(autouse=True)
def _on(settings: Any) -> None:
    settings.WARMER_METRICS = True


def declare(name: str = "things", source: Any = range(10), **options: Any) -> Any:
    options = {"ids": lambda: source, "name": name} | options

    @warm_many(f"{name}:{{id}}", **options)
    def load(ids: Sequence[Any]) -> Mapping[Any, Any]:
        if "bad" in ids:
            raise ValueError("broken")
        return {id: {"id": id} for id in ids}

    return load


class Scraped:
    """What a scrape says."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = [s for family in text_string_to_metric_families(text) for s in family.samples]

    def __call__(self, name: str, **labels: str) -> float | None:
        """Return a value; None when there is none."""
        found = [s.value for s in self.samples if s.name == name and s.labels == labels]
        assert len(found) <= 1
        return found[0] if found else None


def scrape(**headers: str) -> Scraped:
    response = Client().get("/metrics", headers=headers)
    assert response.status_code == 200, response.content
    return Scraped(response.content.decode())


def run(job: Any, trigger: Trigger = Trigger.COMMAND) -> WarmingRun:
    opened = open_run(job.name, trigger).run
    execute(job.spec, opened)
    opened.refresh_from_db()
    return opened


# -- the address -------------------------------------------------------------------------------


def test_view__is_off_unless_asked_for(settings: Any) -> None:
    del settings.WARMER_METRICS
    assert Client().get("/metrics").status_code == 404


def test_view__is_text_that_is_not_cached() -> None:
    response = Client().get("/metrics")
    assert response["Content-Type"].startswith("text/plain; version=")
    assert "no-store" in response["Cache-Control"]
    assert Client().post("/metrics").status_code == 405


def test_view__speaks_openmetrics_where_it_is_asked_to() -> None:
    response = Client().get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response["Content-Type"].startswith("application/openmetrics-text")
    assert response.content.endswith(b"# EOF\n")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong", "Basic c2VjcmV0", "secret", "Bearer s\u00e9cret"]
)
def test_view__refuses_without_the_token(header: str, settings: Any) -> None:
    settings.WARMER_METRICS_TOKEN = "secret"
    response = Client().get("/metrics", headers={"Authorization": header})
    assert (response.status_code, "Bearer" in response["WWW-Authenticate"]) == (401, True)
    assert b"secret" not in response.content
    assert b"warmer_" not in response.content


def test_view__answers_with_the_token(settings: Any) -> None:
    settings.WARMER_METRICS_TOKEN = "secret"
    assert scrape(Authorization="Bearer secret").text
    assert scrape(Authorization="bearer secret").text


def test_view__database_down_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_args: Any) -> Any:
        raise OperationalError("could not connect to server")

    with connection.execute_wrapper(down):
        response = Client().get("/metrics")
    assert response.status_code == 503
    assert b"could not connect" in response.content


# -- runs --------------------------------------------------------------------------------------


def test_runs__are_counted_by_trigger_and_state() -> None:
    job = declare()
    run(job)
    run(job)
    run(job, Trigger.DEPLOY)
    runs.fail(open_run(job.name, Trigger.SCHEDULE).run, "no broker")
    seen = scrape()
    assert seen("warmer_runs_total", job="things", trigger="command", state="complete") == 2
    assert seen("warmer_runs_total", job="things", trigger="deploy", state="complete") == 1
    assert seen("warmer_runs_total", job="things", trigger="schedule", state="failed") == 1
    assert seen("warmer_run_keys_total", job="things", outcome="written") == 30
    assert seen("warmer_run_keys_total", job="things", outcome="superseded") == 0
    assert seen("warmer_run_duration_seconds_count", job="things") == 3
    assert seen("warmer_run_wait_seconds_count", job="things") == 3
    assert seen("warmer_run_batches_total", job="things") == 3


def test_runs__that_are_no_longer_kept_stay_counted() -> None:
    job = declare()
    run(job)
    WarmingRun.objects.all().delete()
    assert scrape()("warmer_runs_total", job="things", trigger="command", state="complete") == 1


def test_runs__seconds_are_those_of_the_ledger() -> None:
    job = declare()
    first, second = run(job), run(job)
    seen = scrape()
    took = (first.took or 0.0) + (second.took or 0.0)
    assert seen("warmer_run_duration_seconds_sum", job="things") == pytest.approx(took)
    assert seen("warmer_run_work_seconds_total", job="things") == pytest.approx(
        first.seconds + second.seconds
    )


def test_runs__wait_is_from_the_request_to_the_start() -> None:
    job = declare()
    opened = open_run(job.name, Trigger.SCHEDULE).run
    WarmingRun.objects.filter(pk=opened.pk).update(requested_at=timezone.now() - timedelta(seconds=40))
    seen = scrape()
    wait = seen("warmer_queue_wait_seconds", job="things")
    assert wait is not None
    assert 40 <= wait < 100
    assert seen("warmer_active_runs", job="things", state="queued") == 1
    execute(job.spec, opened)
    seen = scrape()
    waited = seen("warmer_run_wait_seconds_sum", job="things")
    assert waited is not None
    assert 40 <= waited < 100
    assert seen("warmer_queue_wait_seconds", job="things") == 0
    assert seen("warmer_active_runs", job="things", state="queued") == 0


def test_runs__running_one_is_active() -> None:
    job = declare()
    runs.start(open_run(job.name, Trigger.COMMAND).run.pk)
    seen = scrape()
    assert seen("warmer_active_runs", job="things", state="running") == 1
    assert seen("warmer_queue_wait_seconds", job="things") == 0


def test_last_run__state_and_time() -> None:
    job = declare(source=["good", "bad"])
    seen = scrape()
    assert seen("warmer_last_success_timestamp_seconds", job="things") == 0
    assert seen("warmer_last_run_timestamp_seconds", job="things") is None
    ended = run(job)
    seen = scrape()
    assert seen("warmer_last_run_state", job="things", state="incomplete") == 1
    assert seen("warmer_last_run_state", job="things", state="complete") == 0
    assert seen("warmer_last_success_timestamp_seconds", job="things") == 0
    assert ended.finished_at is not None
    assert seen("warmer_last_run_timestamp_seconds", job="things") == pytest.approx(
        ended.finished_at.timestamp(), abs=1e-3
    )
    good = declare("good")
    run(good)
    runs.fail(open_run("good", Trigger.COMMAND).run, "broken")
    seen = scrape()
    assert seen("warmer_last_run_state", job="good", state="failed") == 1
    assert seen("warmer_last_run_state", job="good", state="complete") == 0
    success = seen("warmer_last_success_timestamp_seconds", job="good")
    last = seen("warmer_last_run_timestamp_seconds", job="good")
    assert success is not None
    assert last is not None
    assert 0 < success < last


def test_jobs__what_is_declared() -> None:
    declare(every=timedelta(minutes=5), timeout=timedelta(minutes=20), required=False)
    warm("other", name="other", every=None)(lambda: 1)
    seen = scrape()
    assert seen("warmer_job_required", job="things") == 0
    assert seen("warmer_job_interval_seconds", job="things") == 300
    assert seen("warmer_job_timeout_seconds", job="things") == 1200
    assert seen("warmer_job_required", job="other") == 1
    assert seen("warmer_job_interval_seconds", job="other") == 0


# -- keys, reads, invalidations, audits --------------------------------------------------------


def test_keys__as_they_were_observed(redis_client: Redis) -> None:
    job = declare()
    job.warm(range(5))
    redis_client.pexpire(cache.make_key("things:3"), 3_000_000)
    before = timezone.now().timestamp()
    observe_all(seconds=45)
    seen = scrape()
    assert seen("warmer_key_coverage_ratio", job="things") == 0.5
    assert seen("warmer_declared_keys", job="things") == 10
    age = seen("warmer_oldest_key_age_seconds", job="things")
    assert age is not None
    assert 600 <= age < 700
    assert seen("warmer_observation_failing", job="things") == 0
    for name, labels in (
        ("warmer_observation_timestamp_seconds", {"job": "things"}),
        ("warmer_last_look_timestamp_seconds", {}),
    ):
        at = seen(name, **labels)
        assert at is not None
        assert before <= at + 1e-3


def test_keys__effectiveness() -> None:
    declare()
    JobObservation.objects.create(
        job="things", watched=200, watched_read=50, watched_share=0.1, watched_misses=7
    )
    seen = scrape()
    assert seen("warmer_effectiveness_ratio", job="things") == 0.25
    assert seen("warmer_missed_while_declared", job="things") == 70


def test_keys__what_is_not_known_is_left_out() -> None:
    declare()
    seen = scrape()
    for name in ("key_coverage_ratio", "oldest_key_age_seconds", "effectiveness_ratio"):
        assert seen(f"warmer_{name}", job="things") is None
    assert seen("warmer_last_look_timestamp_seconds") == 0


def test_reads__hits_and_misses() -> None:
    job = declare()
    job.warm([1, 2])
    job.get_many([1, 2, 3])
    seen = scrape()
    assert seen("warmer_hits_total", job="things") == 2
    assert seen("warmer_misses_total", job="things") == 1
    assert seen("warmer_reader_keys_total", job="things", outcome="written") == 1
    assert seen("warmer_reader_keys_total", job="things", outcome="superseded") == 0
    assert seen("warmer_cache_up", job="things") == 1


def test_reads__cache_down_is_said_and_the_rest_is_there(redis_server: RedisServer) -> None:
    job = declare()
    run(job)
    redis_server.stop()
    seen = scrape()
    assert seen("warmer_cache_up", job="things") == 0
    assert seen("warmer_hits_total", job="things") is None
    assert seen("warmer_runs_total", job="things", trigger="command", state="complete") == 1


def test_reads__cache_that_cannot_count(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    job = declare()
    job.get(1)
    seen = scrape()
    assert seen("warmer_cache_up", job="things") == 1
    assert seen("warmer_hits_total", job="things") is None


def test_invalidations__lag_and_backlog() -> None:
    job = declare()
    job.invalidate([1])
    seen = scrape()
    assert seen("warmer_invalidation_lag_seconds_count", job="things") == 1
    assert seen("warmer_pending_invalidations") == 0
    assert seen("warmer_pending_invalidation_age_seconds") == 0
    earlier = timezone.now() - timedelta(minutes=5)
    for _ in range(2):
        make_waiting("things", [1], recorded_at=earlier)
    seen = scrape()
    assert seen("warmer_pending_invalidations") == 2
    age = seen("warmer_pending_invalidation_age_seconds")
    assert age is not None
    assert 300 <= age < 400


def test_audits__the_last_one() -> None:
    job = declare()
    job.warm()
    cache.set("things:1", {"id": 99})
    perform(job.spec, Trigger.COMMAND)
    seen = scrape()
    assert seen("warmer_audit_keys", job="things", outcome="wrong") == 1
    assert seen("warmer_audit_keys", job="things", outcome="right") == 9
    job.invalidate([1])
    perform(job.spec, Trigger.COMMAND)
    seen = scrape()
    assert seen("warmer_audit_keys", job="things", outcome="wrong") == 0
    assert seen("warmer_audit_keys", job="things", outcome="missing") == 1
    assert (seen("warmer_audit_timestamp_seconds", job="things") or 0) > 1e9


# -- as a whole --------------------------------------------------------------------------------


def test_scrape__names_units_and_labels() -> None:
    job = declare()
    run(job)
    job.get(1)
    perform(job.spec, Trigger.COMMAND)
    observe_all(seconds=45)
    families = list(text_string_to_metric_families(scrape().text))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.name.startswith("warmer_")
        assert family.documentation.endswith(".")
        assert {label for s in family.samples for label in s.labels} <= {"job", "outcome", "trigger", "state"}
        if "seconds" in family.documentation.lower() and family.type != "gauge":
            assert "seconds" in family.name


def test_scrape__every_process_gives_the_same() -> None:
    job = run_job = declare("posts_like")
    run(run_job)
    job.get_many([1, 2, 99])
    job.invalidate([2])
    observe_all(seconds=45)
    code = """
import sys, django
django.setup()
from warmer import warm_many
warm_many("posts_like:{id}", name="posts_like", ids=lambda: range(10))(lambda ids: {id: 1 for id in ids})
from warmer.monitoring.metrics.collector import scrape
sys.stdout.write(scrape("")[0].decode())
"""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": address_of_the_database(),
    }
    mine = scrape()
    other = Scraped(
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=project_settings.BASE_DIR,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    assert mine("warmer_hits_total", job="posts_like") == 2
    assert other.samples == mine.samples


def test_scrape__counts_of_several_processes_are_summed() -> None:
    job = declare()
    job.warm()
    job.get(1)
    read_counters.flush()
    read_counters.forget()  # as another process
    job.get(1)
    assert scrape()("warmer_hits_total", job="things") == 2


def test_scrape__queries_do_not_grow(django_assert_num_queries: Any) -> None:
    job = declare()
    run(job)
    perform(job.spec, Trigger.COMMAND)
    observe_all(seconds=45)
    scrape()
    with CaptureQueriesContext(connection) as few:
        scrape()
    for number in range(30):
        each = declare(f"job{number}")
        run(each)
        perform(each.spec, Trigger.COMMAND)
    WarmingRun.objects.bulk_create(
        WarmingRun(job=f"job{n % 30}", trigger="schedule", state="complete", expires_at=timezone.now())
        for n in range(500)
    )
    observe_all(seconds=45)
    with CaptureQueriesContext(connection) as many:
        scrape()
    assert len(many) == len(few) <= 6


def test_scrape__is_one_round_trip_to_the_cache(redis_client: Redis) -> None:
    for number in range(10):
        declare(f"job{number}").get(1)
    scrape()
    redis_client.config_resetstat()
    scrape()
    calls = {name: stats["calls"] for name, stats in redis_client.info("commandstats").items()}
    assert calls == {"cmdstat_hgetall": len(jobs), "cmdstat_config|resetstat": 1}


def test_scrape__a_job_that_is_gone_is_left_out() -> None:
    RunTotal.objects.create(job="gone", trigger="command", state="complete", runs=3)
    JobObservation.objects.create(job="gone", sampled=1, cached=1)
    assert 'job="gone"' not in scrape().text


def test_totals__runs_that_end_at_once_are_all_counted() -> None:
    run_ = WarmingRun.objects.create(
        job="things", trigger="command", state="complete", written=2, expires_at=timezone.now()
    )
    RunTotal.objects.add(run_)

    def add(_: int) -> None:
        RunTotal.objects.add(run_)
        connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(20)))
    total = RunTotal.objects.get(job="things")
    assert (total.runs, total.written) == (21, 42)
