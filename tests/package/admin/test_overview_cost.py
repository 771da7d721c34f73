"""What the overview costs, however many jobs and runs there are."""

import re
from math import inf

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.package.admin.pages import OVERVIEW, PROJECT, run_of
from warmer import warm
from warmer.admin import questions
from warmer.models import ChangeRecord, JobObservation, State, Trigger, WarmingRun
from warmer.runs import open_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def assert_index_serves(query: str) -> None:
    """Fail unless a query finds its runs by the index of their job, however many there are."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {query}")
            plan = "\n".join(row[3] for row in cursor.fetchall())
            assert not re.search(r"^SCAN (warmer_warmingrun|U0)", plan, flags=re.M), plan
        else:
            cursor.execute(f"EXPLAIN {query}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
            assert "Seq Scan on warmer_warmingrun" not in plan, plan
    assert "warmer_run_job" in plan, plan


@pytest.fixture
def many_jobs(own_jobs: None) -> list[str]:
    names = [f"job{number:04}" for number in range(120)]
    for name in names:
        warm(f"key:{name}", name=name)(lambda: 1)
    return names


def create_runs(names: list[str]) -> None:
    """Create 25 runs of each job."""
    now = timezone.now()
    WarmingRun.objects.bulk_create(
        WarmingRun(job=name, trigger="schedule", state="complete", requested_at=now, expires_at=now)
        for name in names
        for _ in range(25)
    )


@pytest.fixture
def many_runs() -> None:
    """As many as make PostgreSQL look for a job's by an index, and what it knows of them."""
    is_postgresql = connection.vendor == "postgresql"
    create_runs([f"other{number:04}" for number in range(200 if is_postgresql else 5)])
    if is_postgresql:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE warmer_warmingrun")


def queries_of(client: Client, url: str, **query: str) -> int:
    client.get(url, query)  # what is looked up once a process
    with CaptureQueriesContext(connection) as queries:
        assert client.get(url, query).status_code == 200
    return len(queries)


@pytest.mark.usefixtures("with_broker")
@pytest.mark.parametrize(("seconds", "limit"), [(0.0, 19), (inf, 15)])
def test_cost__queries_grow_with_neither_runs_nor_jobs(
    operator: Client, many_jobs: list[str], monkeypatch: pytest.MonkeyPatch, seconds: float, limit: int
) -> None:
    monkeypatch.setattr(questions, "SHARED_SECONDS", seconds)
    assert queries_of(operator, OVERVIEW, q="posts") <= limit
    create_runs(many_jobs[:30])
    for name in many_jobs[30:60]:
        open_run(name, Trigger.SCHEDULE)
    JobObservation.objects.bulk_create(JobObservation(job=name) for name in many_jobs[:60])
    ChangeRecord.objects.bulk_create(ChangeRecord(key=f"key:{name}") for name in many_jobs[:90])
    for query in ({}, {"q": "job"}, {"p": "2"}, {"state": "unknown"}, {"live": "1"}):
        assert queries_of(operator, OVERVIEW, **query) <= limit, query


def test_cost__observations_are_read_once_for_a_page_and_once_for_many(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reads() -> list[bool]:
        """Return for each read of the observations whether it is that of the snapshot."""
        with CaptureQueriesContext(connection) as queries:
            operator.get(OVERVIEW)
        found = [each["sql"] for each in queries if 'FROM "warmer_jobobservation"' in each["sql"]]
        return ["run_state" not in sql for sql in found]

    monkeypatch.setattr(questions, "SHARED_SECONDS", inf)
    assert (reads(), reads()) == ([False, True], [False])
    monkeypatch.setattr(questions, "SHARED_SECONDS", 0.0)
    assert reads() == [False, True]


def test_cost__page_holds_fifty_jobs(operator: Client, many_jobs: list[str]) -> None:
    page = operator.get(OVERVIEW).content.decode()
    assert page.count('name="job"') == 50
    assert "page 1 of 3, 123 jobs" in page
    last = operator.get(OVERVIEW, {"p": "3"}).content.decode()
    assert last.count('name="job"') == 23


def test_cost__newest_runs_of_a_job_are_found_by_index(many_runs: None) -> None:
    for number in range(3):
        run_of("posts", seconds=number + 1)
    with CaptureQueriesContext(connection) as queries:
        found = WarmingRun.objects.recent_per_job(["posts", "popular_posts", "user_profiles"], each=2)
    assert [len(found[name]) for name in ("posts", "popular_posts", "user_profiles")] == [2, 0, 0]
    assert found["posts"][0].pk > found["posts"][1].pk
    assert len(queries) == 1
    assert_index_serves(queries[0]["sql"])
    assert WarmingRun.objects.recent_per_job([], each=3) == {}


def test_cost__last_states_of_observed_jobs_are_found_by_index(many_runs: None) -> None:
    run_of("posts", State.FAILED)
    run_of("user_profiles")
    JobObservation.objects.bulk_create(JobObservation(job=name) for name in PROJECT)
    with CaptureQueriesContext(connection) as queries:
        found = JobObservation.objects.with_run_state().in_bulk(PROJECT, field_name="job")
    states = {name: row.run_state for name, row in found.items()}
    assert states == {"posts": "failed", "user_profiles": "complete", "popular_posts": None}
    assert_index_serves(queries[0]["sql"])
