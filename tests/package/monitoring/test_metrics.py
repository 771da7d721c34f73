"""Metrics: a scrape says what is so, whichever process answers it, at a bounded cost."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from redis import Redis

from embedded.redis_server import RedisServer
from tests.package.doctor.conftest import broker_at, serve  # noqa: F401
from tests.package.doctor.support import Serve
from tests.package.monitoring.things import LOCMEM, declare
from tests.support.others import apart
from tests.support.processes import run_code
from tests.support.scraping import Scraped, scrape
from tests.support.waiting import make_waiting
from warmer import jobs, runs, warm
from warmer.filling import read_counters
from warmer.models import JobObservation, RunTotal, Trigger, WarmingRun
from warmer.monitoring.audit import perform
from warmer.monitoring.observation import observe_all
from warmer.runs import open_run
from warmer.runs.execution import execute
from warmer.tasks import request_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.fixture(autouse=True)
def _on(settings: Any) -> None:
    settings.WARMER_METRICS = True


def run(job: Any, trigger: Trigger = Trigger.COMMAND) -> WarmingRun:
    opened = open_run(job.name, trigger).run
    execute(job.spec, opened)
    opened.refresh_from_db()
    return opened


def test_view__is_text_that_is_not_cached_and_off_by_default(settings: Any) -> None:
    response = Client().get("/metrics")
    assert response["Content-Type"].startswith("text/plain; version=")
    assert "no-store" in response["Cache-Control"]
    assert Client().post("/metrics").status_code == 405
    response = Client().get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response["Content-Type"].startswith("application/openmetrics-text")
    assert response.content.endswith(b"# EOF\n")
    del settings.WARMER_METRICS
    assert Client().get("/metrics").status_code == 404


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic c2VjcmV0", "secret", "Bearer s\u00e9cret"])
def test_view__refuses_without_the_token(header: str, settings: Any) -> None:
    settings.WARMER_METRICS_TOKEN = "secret"
    response = Client().get("/metrics", headers={"Authorization": header})
    assert (response.status_code, "Bearer" in response["WWW-Authenticate"]) == (401, True)
    assert not any(text in response.content for text in (b"secret", b"warmer_"))
    assert all(scrape(Authorization=f"{kind} secret").text for kind in ("Bearer", "bearer"))


def test_view__database_down_is_503() -> None:
    with connection.execute_wrapper(Mock(side_effect=OperationalError("could not connect to server"))):
        response = Client().get("/metrics")
    assert response.status_code == 503
    assert b"could not connect" in response.content


def test_jobs__are_those_that_are_declared() -> None:
    declare(every=timedelta(minutes=5), timeout=timedelta(minutes=20), required=False)
    warm("other", name="other", every=None)(lambda: 1)
    RunTotal.objects.create(job="gone", trigger="command", state="complete", runs=3)
    JobObservation.objects.create(job="gone", sampled=1, cached=1)
    seen = scrape()
    assert 'job="gone"' not in seen.text
    names = ("job_required", "job_interval_seconds", "job_timeout_seconds")
    assert [seen(name) for name in names] == [0, 300, 1200]
    assert [seen(name, job="other") for name in names[:2]] == [1, 0]


def test_runs__are_counted_by_trigger_and_state_also_once_deleted() -> None:
    job = declare()
    ended = [run(job), run(job), run(job, Trigger.DEPLOY)]
    runs.fail(open_run(job.name, Trigger.SCHEDULE).run, "no broker")
    WarmingRun.objects.all().delete()
    seen = scrape()
    for trigger, state, count in (("command", "complete", 2), ("deploy", "complete", 1), ("schedule", "failed", 1)):
        assert seen("runs_total", trigger=trigger, state=state) == count
    assert [seen("run_keys_total", outcome=outcome) for outcome in ("written", "superseded")] == [30, 0]
    for name in ("run_duration_seconds_count", "run_wait_seconds_count", "run_batches_total"):
        assert seen(name) == 3
    assert seen("run_duration_seconds_sum") == pytest.approx(sum(each.took or 0 for each in ended))
    assert seen("run_work_seconds_total") == pytest.approx(sum(each.seconds for each in ended))


def test_queues__messages_that_wait(serve: Serve, broker_at: Any) -> None:  # noqa: F811
    job = declare()
    assert scrape()("queue_messages", queue="warming") is None  # there is no broker
    server = serve()
    broker_at(server.url())
    assert scrape()("queue_messages", queue="warming") == 0
    request_run(job.name, Trigger.ADMIN)
    assert scrape()("queue_messages", queue="warming") == 1
    server.stop()
    assert scrape()("queue_messages", queue="warming") is None


def test_runs__wait_is_from_the_request_to_the_start() -> None:
    job = declare()
    opened = open_run(job.name, Trigger.SCHEDULE).run
    WarmingRun.objects.filter(pk=opened.pk).update(requested_at=timezone.now() - timedelta(seconds=40))
    seen = scrape()
    assert 40 <= seen.number("queue_wait_seconds") < 100
    assert seen("active_runs", state="queued") == 1
    runs.start(opened.pk)
    seen = scrape()
    active = [seen("active_runs", state=state) for state in ("queued", "running")]
    assert (active, seen("queue_wait_seconds")) == ([0, 1], 0)
    runs.fail(WarmingRun.objects.get(pk=opened.pk), "broken")
    seen = scrape()
    assert 40 <= seen.number("run_wait_seconds_sum") < 100
    assert seen("active_runs", state="running") == 0


def test_last_run__state_and_time() -> None:
    job = declare(ids=["good", "bad"])
    seen = scrape()
    assert [seen(f"last_{what}_timestamp_seconds") for what in ("success", "run")] == [0, None]
    ended = run(job).finished_at
    assert ended is not None
    seen = scrape()
    assert [seen("last_run_state", state=state) for state in ("incomplete", "complete")] == [1, 0]
    assert seen("last_success_timestamp_seconds") == 0
    assert seen("last_run_timestamp_seconds") == pytest.approx(ended.timestamp(), abs=1e-3)
    run(declare("good"))
    runs.fail(open_run("good", Trigger.COMMAND).run, "broken")
    seen = scrape()
    assert [seen("last_run_state", job="good", state=state) for state in ("failed", "complete")] == [1, 0]
    success, last = (seen.number(f"last_{what}_timestamp_seconds", job="good") for what in ("success", "run"))
    assert 0 < success < last


def test_totals__runs_that_end_at_once_are_all_counted() -> None:
    ended = run(declare())
    RunTotal.objects.all().delete()
    RunTotal.objects.add(ended)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(apart(RunTotal.objects.add), [ended] * 20))
    total = RunTotal.objects.get(job="things")
    assert (total.runs, total.written) == (21, 210)


def test_keys__as_they_were_observed(redis_client: Redis) -> None:
    job = declare()
    seen = scrape()
    unknown = ("key_coverage_ratio", "oldest_key_age_seconds", "effectiveness_ratio")
    assert [seen(name) for name in (*unknown, "last_look_timestamp_seconds")] == [None, None, None, 0]
    job.warm(range(5))
    redis_client.pexpire(cache.make_key("things:3"), 3_000_000)
    before = timezone.now().timestamp()
    observe_all(seconds=45)
    JobObservation.objects.update(watched=200, watched_read=50, watched_share=0.1, watched_misses=7)
    seen = scrape()
    assert (seen("key_coverage_ratio"), seen("declared_keys")) == (0.5, 10)
    assert 600 <= seen.number("oldest_key_age_seconds") < 700
    assert (seen("effectiveness_ratio"), seen("missed_while_declared")) == (0.25, 70)
    assert seen("observation_failing") == 0
    for name in ("observation_timestamp_seconds", "last_look_timestamp_seconds"):
        assert before <= seen.number(name) + 1e-3


def test_reads__are_left_out_if_the_cache_is_down_or_cannot_count(redis_server: RedisServer, settings: Any) -> None:
    job = declare()
    job.warm([1, 2])
    job.get_many([1, 2, 3])
    read_counters.flush()
    read_counters.forget()  # as another process
    job.get(1)
    seen = scrape()
    assert (seen("hits_total"), seen("misses_total"), seen("cache_up")) == (3, 1, 1)
    assert [seen("reader_keys_total", outcome=outcome) for outcome in ("written", "superseded")] == [1, 0]
    run(job)
    redis_server.stop()
    seen = scrape()
    assert (seen("cache_up"), seen("hits_total")) == (0, None)
    assert seen("runs_total", trigger="command", state="complete") == 1
    settings.CACHES = LOCMEM
    job.get(1)
    assert [scrape()(name) for name in ("cache_up", "hits_total")] == [1, None]


def test_invalidations__lag_and_backlog() -> None:
    declare().invalidate([1])
    seen = scrape()
    assert seen("invalidation_lag_seconds_count") == 1
    assert (seen("pending_invalidations"), seen("pending_invalidation_age_seconds")) == (0, 0)
    for _ in range(2):
        make_waiting("things", [1], recorded_at=timezone.now() - timedelta(minutes=5))
    seen = scrape()
    assert seen("pending_invalidations") == 2
    assert 300 <= seen.number("pending_invalidation_age_seconds") < 400


def test_audits__the_last_one() -> None:
    job = declare()
    job.warm()
    cache.set("things:1", {"id": 99})
    perform(job.spec, Trigger.COMMAND)
    seen = scrape()
    assert [seen("audit_keys", outcome=outcome) for outcome in ("wrong", "right")] == [1, 9]
    job.invalidate()
    seen = scrape()
    assert [seen("audit_keys", outcome=outcome) for outcome in ("wrong", "right")] == [0, 9]
    perform(job.spec, Trigger.COMMAND)
    seen = scrape()
    assert [seen("audit_keys", outcome=outcome) for outcome in ("wrong", "missing")] == [0, 10]
    assert seen.number("audit_timestamp_seconds") > 1e9


def test_scrape__every_process_gives_the_same() -> None:
    job = declare("posts_like")
    run(job)
    job.get_many([1, 2, 99])
    job.invalidate([2])
    observe_all(seconds=45)
    code = """
import sys, django
django.setup()
from warmer import warm_many
warm_many("posts_like:{id}", name="posts_like", ids=lambda: range(10))(lambda ids: {id: 1 for id in ids})
from warmer.monitoring.metrics import scrape
sys.stdout.write(scrape("")[0].decode())
"""
    mine = scrape()
    assert mine("hits_total", job="posts_like") == 2
    assert Scraped(run_code(code).stdout).samples == mine.samples


def test_scrape__cost_does_not_grow(redis_client: Redis) -> None:
    for number in range(10):
        job = declare(f"job{number}")
        run(job)
        perform(job.spec, Trigger.COMMAND)
    WarmingRun.objects.bulk_create(
        WarmingRun(job=f"job{n % 10}", trigger="schedule", state="complete", expires_at=timezone.now())
        for n in range(500)
    )
    observe_all(seconds=45)
    scrape()
    redis_client.config_resetstat()
    with CaptureQueriesContext(connection) as queries:
        scrape()
    assert len(queries) <= 6
    calls = {name: stats["calls"] for name, stats in redis_client.info("commandstats").items()}
    assert calls == {"cmdstat_hgetall": len(jobs), "cmdstat_config|resetstat": 1}, "one pipeline"
