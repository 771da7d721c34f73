"""The overview of the jobs, and what can be done with them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.core.cache import cache
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from embedded.redis_server import RedisServer
from myapp.models import Post
from warmer import auditing, history, jobs, ledger, outbox, warm, warm_many
from warmer.admin.overview import overview
from warmer.models import CacheAudit, JobObservation, PendingInvalidation, State, Trigger, WarmingRun
from warmer.monitoring.observation import observe_all
from warmer.report import Report

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

OVERVIEW, JOBS = "/admin/warmer/", "/admin/warmer/job/"
WARM, INVALIDATE, AUDIT = f"{JOBS}warm/", f"{JOBS}invalidate/", f"{JOBS}audit/"
PAUSE, RESUME = f"{JOBS}pause/", f"{JOBS}resume/"
RUNS = "/admin/warmer/warmingrun/"
PERMISSIONS = {
    WARM: "warm_job",
    INVALIDATE: "invalidate_job",
    AUDIT: "audit_job",
    PAUSE: "pause_job",
    RESUME: "pause_job",
}
PROJECT = {"user_profiles", "popular_posts", "posts"}


def row(client: Client, job: str, url: str = OVERVIEW) -> str:
    """Return a job's row of the overview, as text."""
    page = client.get(url).content.decode()
    (found,) = [each for each in re.findall(r"<tr>.*?</tr>", page, flags=re.S) if f">{job}</a>" in each]
    return " ".join(re.sub(r"<[^>]+>", " ", found).replace("&nbsp;", " ").replace("\xa0", " ").split())


def state_of(client: Client, job: str) -> str:
    page = client.get(OVERVIEW).content.decode()
    (found,) = [each for each in re.findall(r"<tr>.*?</tr>", page, flags=re.S) if f">{job}</a>" in each]
    match = re.search(r"warmer-state-(\w+)", found)
    assert match is not None
    return match[1]


def run_of(job: str, state: State = State.COMPLETE, *, seconds: float = 2, **fields: Any) -> WarmingRun:
    """Put an ended run into the ledger."""
    now = timezone.now()
    times = {"requested_at": now, "expires_at": now, "finished_at": now}
    return WarmingRun.objects.create(
        job=job,
        trigger=Trigger.SCHEDULE,
        state=state,
        started_at=now - timedelta(seconds=seconds),
        **times | fields,
    )


def assert_index_serves(query: str) -> None:
    """Fail unless a query finds its runs by the index of their job, however many there are."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {query}")
            plan = "\n".join(row[3] for row in cursor.fetchall())
            assert not re.search(r"^SCAN (warmer_warmingrun|U0)", plan, flags=re.M), plan
        else:  # a table of a few rows is read whole, unless that is forbidden
            with transaction.atomic():
                cursor.execute("SET LOCAL enable_seqscan = off")
                cursor.execute(f"EXPLAIN {query}")
                plan = "\n".join(row[0] for row in cursor.fetchall())
            assert "Seq Scan on warmer_warmingrun" not in plan, plan
    assert "warmer_run_job" in plan, plan


def log() -> list[tuple[str, str, str]]:
    """Return who did what with which job, the first first."""
    entries = LogEntry.objects.order_by("pk")
    return [(entry.user.username, entry.object_id, entry.get_change_message()) for entry in entries]


class TestOverview:
    def test_overview__lists_what_is_declared_with_its_runs(self, operator: Client) -> None:
        ledger.fail(ledger.open_run("posts", Trigger.COMMAND).run, "broken")
        for url in (OVERVIEW, JOBS):
            assert "failed" in row(operator, "posts", url)
            assert "never run" in row(operator, "popular_posts", url)
            assert 'title="every 15 minutes"' in operator.get(url).content.decode()
            assert "next in 15 min" in row(operator, "user_profiles", url)

    def test_overview__says_how_much_is_cached_and_how_old(self, operator: Client, make_user: Any) -> None:
        for _ in range(4):
            make_user()
        jobs["user_profiles"].warm()  # type: ignore[attr-defined]
        observe_all(seconds=10)
        assert "100 % oldest" in row(operator, "user_profiles")
        assert "seen 0 s ago" in row(operator, "user_profiles")
        assert state_of(operator, "user_profiles") == "warm"
        cache.delete_many(cache.keys("user:*:profile")[:3])
        observe_all(seconds=10)
        assert state_of(operator, "user_profiles") == "partly"
        cache.delete_many(cache.keys("user:*:profile"))
        observe_all(seconds=10)
        assert state_of(operator, "user_profiles") == "cold"
        assert "0 % seen" in row(operator, "user_profiles")

    def test_overview__says_how_often_reads_hit(self, operator: Client) -> None:
        JobObservation.objects.create(
            job="posts",
            observed_at=timezone.now(),
            hits_hour=3,
            misses_hour=1,
            hits_day=9_999,
            misses_day=1,
            sampled=4,
            cached=4,
        )
        assert "75 % hour 99.9 % day" in row(operator, "posts")
        assert "not counted" in row(operator, "popular_posts")

    def test_overview__says_how_many_warm_keys_are_read(self, operator: Client) -> None:
        JobObservation.objects.create(
            job="posts",
            observed_at=timezone.now(),
            sampled=4,
            cached=4,
            watched=200,
            watched_read=30,
            watched_share=0.5,
            watched_misses=7,
        )
        assert "15 % used" in row(operator, "posts")
        assert "used" not in row(operator, "popular_posts")
        page = operator.get(f"{JOBS}posts/schedule/").content.decode()
        assert "15\N{NO-BREAK SPACE}%, give or take 6.9\N{NO-BREAK SPACE}%" in page
        assert "about 14" in page

    def test_overview__says_why_a_look_failed(self, operator: Client) -> None:
        JobObservation.objects.create(
            job="posts",
            error="StoreUnavailable: <b>away</b>",
            observed_at=timezone.now(),
            sampled=1,
            cached=1,
        )
        assert "StoreUnavailable: &lt;b&gt;away" in row(operator, "posts")

    def test_overview__a_first_look_that_failed_is_not_no_look(self, operator: Client) -> None:
        def ids() -> list[int]:
            raise RuntimeError("ids broke")

        warm_many("x:{id}", ids=ids, name="x")(lambda ids: {})
        assert "not looked at yet" in row(operator, "x")
        observe_all(seconds=10)
        assert "the look failed RuntimeError: ids broke" in row(operator, "x")
        assert "not looked at yet" not in row(operator, "x")
        page = operator.get(f"{JOBS}x/schedule/").content.decode()
        assert "never with success; 0\N{NO-BREAK SPACE}s\N{NO-BREAK SPACE}ago that failed: " in page

    def test_overview__says_when_a_run_ended_after_the_look(self, operator: Client) -> None:
        seen = timezone.now()
        JobObservation.objects.create(job="posts", observed_at=seen, sampled=4, cached=0)
        run_of("posts", finished_at=seen - timedelta(seconds=1))
        assert "before run" not in row(operator, "posts")
        run = run_of("posts", finished_at=seen + timedelta(seconds=1))
        assert f"seen 0 s ago before run {run.pk} ended" in row(operator, "posts")

    @pytest.mark.parametrize(
        ("state", "shown"),
        [
            (State.FAILED, "failed"),
            (State.LOST, "failed"),
            (State.EXPIRED, "failed"),
            (State.INCOMPLETE, "partly"),
            (State.COMPLETE, "warm"),
            (State.CANCELLED, "warm"),
        ],
    )
    def test_overview__state_is_that_of_the_last_run_then_of_the_cache(
        self, operator: Client, state: State, shown: str
    ) -> None:
        JobObservation.objects.create(job="posts", observed_at=timezone.now(), sampled=4, cached=4)
        run_of("posts", State.FAILED)
        run_of("posts", state)
        assert state_of(operator, "posts") == shown

    def test_overview__state_running_says_how_far(self, operator: Client) -> None:
        run = ledger.start(ledger.open_run("posts", Trigger.COMMAND).run.pk)
        assert run is not None
        ledger.expect(run, batches=4, report=Report(job="posts"))
        ledger.record_batches(run, {1: Report(job="posts", batches=1, written=3)})
        assert state_of(operator, "posts") == "running"
        assert "1 of 4 batches" in row(operator, "posts")

    def test_overview__mean_duration_is_of_complete_runs_and_drawn_with_all(self, operator: Client) -> None:
        for seconds in (1, 3):
            run_of("posts", seconds=seconds)
        run_of("posts", State.FAILED, seconds=90)
        assert "2.00 s" in row(operator, "posts")
        page = operator.get(OVERVIEW).content.decode()
        assert page.count('<rect class="warmer-bar-complete"') == 2
        assert page.count('<rect class="warmer-bar-failed"') == 1
        assert 'aria-label="The last 3 runs took up to 90.00 s"' in page

    def test_overview__pending_invalidations(self, operator: Client) -> None:
        PendingInvalidation.objects.create(jobs={"posts": [1], "user_profiles": None})
        PendingInvalidation.objects.create(jobs={"posts": None})
        assert "2 pending" in row(operator, "posts")
        assert "1 pending" in row(operator, "user_profiles")
        assert "0 pending" in row(operator, "popular_posts")
        assert "2 invalidations\n  waiting" in operator.get(OVERVIEW).content.decode()

    def test_overview__counts_the_oldest_of_very_many_pending_ones(
        self, operator: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(outbox, "COUNTED_BY_JOB", 1)
        PendingInvalidation.objects.create(jobs={"posts": None})
        assert "are of the oldest" not in operator.get(OVERVIEW).content.decode()
        PendingInvalidation.objects.create(jobs={"posts": None})
        assert "are of the oldest 1." in operator.get(OVERVIEW).content.decode()

    def test_overview__last_audit(self, operator: Client, make_post: Any) -> None:
        post = make_post()
        jobs["posts"].warm()  # type: ignore[attr-defined]
        auditing.perform(jobs["posts"].spec, Trigger.COMMAND)
        assert "100 % 0 s ago" in row(operator, "posts")
        Post._base_manager.filter(pk=post.pk).update(title="Behind the back")
        auditing.perform(jobs["posts"].spec, Trigger.COMMAND)
        assert "0 % 1 wrong, 0 s ago" in row(operator, "posts")
        audit = CacheAudit.objects.latest("id")
        page = operator.get(f"/admin/warmer/cacheaudit/{audit.pk}/change/").content.decode()
        assert f"post:{post.pk}" in page
        assert "title" in page
        assert "Behind the back" not in page

    def test_overview__audit_that_found_keys_missing_says_how_many(
        self, operator: Client, make_post: Any
    ) -> None:
        posts = [make_post() for _ in range(3)]
        auditing.perform(jobs["posts"].spec, Trigger.COMMAND)
        assert "3 missing 0 s ago" in row(operator, "posts")
        jobs["posts"].warm([posts[0].pk])  # type: ignore[attr-defined]
        auditing.perform(jobs["posts"].spec, Trigger.COMMAND)
        assert "100 % 2 missing, 0 s ago" in row(operator, "posts")

    def test_overview__search_and_choice_of_a_state(self, operator: Client) -> None:
        run_of("posts", State.FAILED)
        page = operator.get(OVERVIEW, {"q": "POST"}).content.decode()
        assert ">posts</a>" in page
        assert ">popular_posts</a>" in page
        assert ">user_profiles</a>" not in page
        page = operator.get(OVERVIEW, {"state": "failed"}).content.decode()
        assert ">posts</a>" in page
        assert ">popular_posts</a>" not in page
        assert "No job is so" in operator.get(OVERVIEW, {"q": "<script>alert(1)"}).content.decode()
        assert "<script>alert" not in operator.get(OVERVIEW, {"q": "<script>alert(1)"}).content.decode()

    def test_overview__page_that_is_no_number(self, operator: Client) -> None:
        assert ">posts</a>" in operator.get(OVERVIEW, {"p": "x"}).content.decode()

    def test_overview__no_inline_script_or_style(self, operator: Client) -> None:
        run_of("posts")
        page = operator.get(OVERVIEW).content.decode()
        content = page[page.index('<div id="content"') : page.index("<!-- END Content -->")]
        assert "<script" not in content
        assert "<style" not in page
        assert not re.search(r'\s(style|on\w+)="', content)

    def test_overview__index_leads_here(self, operator: Client) -> None:
        page = operator.get("/admin/").content.decode()
        for url in (OVERVIEW, JOBS, RUNS):
            assert f'"{url}"' in page


class TestCost:
    """Queries, with few jobs and runs, and with many."""

    @pytest.fixture
    def many_jobs(self, own_jobs: None) -> list[str]:
        names = [f"job{number:04}" for number in range(1_000)]
        for name in names:
            warm(f"key:{name}", name=name)(lambda: 1)
        return names

    def count(self, client: Client, url: str, **query: str) -> int:
        client.get(url, query)  # what is looked up once a process
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url, query).status_code == 200
        return len(queries)

    def test_cost__queries_grow_with_neither_runs_nor_jobs(
        self, operator: Client, many_jobs: list[str]
    ) -> None:
        few = self.count(operator, OVERVIEW, q="posts")
        now = timezone.now()
        WarmingRun.objects.bulk_create(
            [
                WarmingRun(job=name, trigger="schedule", state="complete", requested_at=now, expires_at=now)
                for name in many_jobs[:200]
                for _ in range(25)
            ]
        )
        JobObservation.objects.bulk_create(JobObservation(job=name) for name in many_jobs[:500])
        PendingInvalidation.objects.bulk_create(
            PendingInvalidation(jobs={name: None}) for name in many_jobs[:700]
        )
        assert few <= 16
        for query in ({}, {"q": "job"}, {"p": "7"}, {"state": "unknown"}):
            assert self.count(operator, OVERVIEW, **query) <= few + 1, query

    def test_cost__page_holds_fifty_jobs(self, operator: Client, many_jobs: list[str]) -> None:
        page = operator.get(OVERVIEW).content.decode()
        assert page.count('name="job"') == 50
        assert "page 1 of 21, 1003 jobs" in page
        last = operator.get(OVERVIEW, {"p": "21"}).content.decode()
        assert last.count('name="job"') == 3

    def test_cost__bulk_action_on_many_says_it_once(self, operator: Client, many_jobs: list[str]) -> None:
        page = operator.post(PAUSE, {"job": many_jobs[:30]}, follow=True).content.decode()
        assert "And so for 20 more jobs" in page

    def test_cost__newest_runs_of_a_job_are_found_by_index(self, operator: Client) -> None:
        for number in range(3):
            run_of("posts", seconds=number + 1)
        with CaptureQueriesContext(connection) as queries:
            found = history.recent(["posts", "popular_posts", "user_profiles"], each=2)
        assert [len(found[name]) for name in ("posts", "popular_posts", "user_profiles")] == [2, 0, 0]
        assert found["posts"][0].pk > found["posts"][1].pk
        assert len(queries) == 1
        assert_index_serves(queries[0]["sql"])

    def test_cost__last_states_of_observed_jobs_are_found_by_index(self) -> None:
        run_of("posts", State.FAILED)
        run_of("user_profiles")
        JobObservation.objects.create(job="posts")
        JobObservation.objects.create(job="popular_posts")
        with CaptureQueriesContext(connection) as queries:
            states = history.last_states(PROJECT)
        assert states == {"posts": "failed", "user_profiles": "complete"}
        assert len(queries) == 2
        assert_index_serves(queries[0]["sql"])

    def test_cost__overview_without_any_job(self) -> None:
        assert history.recent([], each=3) == {}
        assert overview({"q": "nothing at all"}).rows == []


class TestWarm:
    def test_warm__one_ends_on_the_runs_page(self, operator: Client, make_user: Any) -> None:
        user = make_user()
        answer = operator.post(WARM, {"only": "user_profiles"})
        run = WarmingRun.objects.get()
        assert answer.status_code == 302
        assert answer["Location"] == f"{RUNS}{run.pk}/change/"
        assert (run.job, run.trigger, run.state) == ("user_profiles", "admin", State.COMPLETE)
        assert run.requested_by is not None
        assert cache.get(f"user:{user.pk}:profile")["username"] == user.username
        page = operator.get(answer["Location"]).content.decode()
        assert "user_profiles" in page
        assert "complete" in page
        assert log() == [("olga", "user_profiles", f"Warm now: run {run.pk}.")]

    def test_warm__several_end_on_their_runs(self, operator: Client) -> None:
        answer = operator.post(WARM, {"job": ["posts", "popular_posts"]}, follow=True)
        assert {run.job for run in WarmingRun.objects.all()} == {"posts", "popular_posts"}
        assert answer.status_code == 200
        assert answer.content.decode().count("/change/") == 2

    def test_warm__all(self, operator: Client) -> None:
        operator.post(WARM, {"all": "1"})
        assert {run.job for run in WarmingRun.objects.all()} == PROJECT

    def test_warm__why_is_logged(self, operator: Client) -> None:
        operator.post(WARM, {"only": "posts", "why": "  after the\nimport <b>" + "x" * 300})
        ((_, _, message),) = log()
        assert "Why: after the import <b>xxx" in message
        assert len(message) < 260
        page = operator.get(f"{JOBS}posts/schedule/").content.decode()
        assert "after the import &lt;b&gt;xxx" in page

    def test_warm__one_that_is_under_way_is_joined_and_said(self, operator: Client) -> None:
        under_way = ledger.open_run("posts", Trigger.SCHEDULE).run
        page = operator.post(WARM, {"only": "posts"}, follow=True).content.decode()
        assert f"Already being warmed: posts, by run {under_way.pk} (schedule)" in page
        assert WarmingRun.objects.count() == 1

    def test_warm__failed_run_is_said(self, operator: Client, redis_server: RedisServer) -> None:
        redis_server.stop()
        warm_many("x:{id}", ids=lambda: [1], name="x")(lambda ids: {1: 1})
        run = operator.post(WARM, {"only": "x"})
        redis_server.start()
        page = operator.get(run["Location"]).content.decode()
        assert "is failed" in page
        assert "does not answer" in page

    def test_warm__without_the_right_to_see_runs_ends_on_the_overview(
        self, log_in: Callable[..., Client]
    ) -> None:
        answer = log_in("warm_job").post(WARM, {"only": "posts"}, follow=True)
        assert answer.redirect_chain[-1][0] == OVERVIEW
        assert WarmingRun.objects.count() == 1
        assert "Asked for run" in answer.content.decode() or "is complete" in answer.content.decode()


class TestInvalidate:
    def test_invalidate__asks_first(self, operator: Client) -> None:
        cache.set("popular_posts", ["old"])
        page = operator.post(INVALIDATE, {"only": "popular_posts", "why": "wrong"}).content.decode()
        assert "are you sure" in page
        assert 'name="job" value="popular_posts"' in page
        assert 'value="wrong"' in page
        assert cache.get("popular_posts") == ["old"]
        assert log() == []

    def test_invalidate__deletes_the_keys_of_the_chosen_jobs(self, operator: Client, make_user: Any) -> None:
        user = make_user()
        key = f"user:{user.pk}:profile"
        cache.set_many({"popular_posts": ["old"], key: {"username": "old"}, "other": 1})
        answer = operator.post(
            INVALIDATE,
            {"job": ["popular_posts", "user_profiles"], "confirmed": "yes", "why": "wrong"},
            follow=True,
        )
        assert cache.get_many(["popular_posts", key, "other"]) == {"other": 1}
        assert "Invalidated: every key of popular_posts" in answer.content.decode()
        assert log() == [
            ("olga", "popular_posts", "Invalidated every key. Why: wrong"),
            ("olga", "user_profiles", "Invalidated every key. Why: wrong"),
        ]
        assert not PendingInvalidation.objects.exists()

    def test_invalidate__voids_what_was_seen_of_the_keys_before(self, operator: Client) -> None:
        looked_at = timezone.now() - timedelta(seconds=20)
        for job in ("posts", "popular_posts"):
            JobObservation.objects.create(
                job=job,
                looked_at=looked_at,
                observed_at=looked_at,
                sampled=4,
                cached=4,
                hits_day=3,
                misses_day=1,
            )
        operator.post(INVALIDATE, {"only": "posts", "confirmed": "yes"})
        assert state_of(operator, "posts") == "unknown"
        assert "invalidated, not looked at since" in row(operator, "posts")
        assert "100 %" not in row(operator, "posts")
        assert "75 % day" in row(operator, "posts")
        assert JobObservation.objects.get(job="posts").looked_at == looked_at
        assert (
            "not since the keys were invalidated" in operator.get(f"{JOBS}posts/schedule/").content.decode()
        )
        assert state_of(operator, "popular_posts") == "warm"
        observe_all(seconds=10)
        assert "invalidated" not in row(operator, "posts").removesuffix("Invalidate \u2026")

    def test_invalidate__cache_that_is_away_is_said_and_it_is_kept(
        self, operator: Client, redis_server: RedisServer, settings: Any
    ) -> None:
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
        operator.force_login(LogEntry.user.field.related_model.objects.get(username="olga"))
        redis_server.stop()
        answer = operator.post(INVALIDATE, {"only": "popular_posts", "confirmed": "yes"}, follow=True)
        assert "is invalidated by a worker" in answer.content.decode()
        assert [row.jobs for row in PendingInvalidation.objects.all()] == [{"popular_posts": None}]
        assert log() == [("olga", "popular_posts", "Asked for every key to be invalidated.")]
        redis_server.start()

    @pytest.mark.parametrize("job", ["popular_posts", "posts"])
    def test_invalidate__that_failed_and_is_kept_nowhere_is_said(
        self, operator: Client, redis_server: RedisServer, settings: Any, job: str
    ) -> None:
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
        settings.WARMER_DURABLE_INVALIDATION = False
        operator.force_login(LogEntry.user.field.related_model.objects.get(username="olga"))
        redis_server.stop()
        answer = operator.post(INVALIDATE, {"only": job, "confirmed": "yes"}, follow=True)
        page = answer.content.decode()
        assert "Invalidate: The cache" in page
        assert "does not answer as it should" in page
        assert "Invalidated:" not in page
        assert log() == []
        redis_server.start()

    def test_invalidate__in_the_transaction_of_a_request(
        self, operator: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[bool] = []
        monkeypatch.setattr("warmer.tasks.request_pending", lambda: asked.append(connection.in_atomic_block))
        with transaction.atomic():
            answer = operator.post(INVALIDATE, {"job": ["popular_posts", "posts"], "confirmed": "yes"})
        said = [str(each) for each in get_messages(answer.wsgi_request)]
        assert "Invalidated: every key of popular_posts." in said
        assert any(each.startswith("Asked for: every key of posts") for each in said)
        assert [row.jobs for row in PendingInvalidation.objects.all()] == [{"posts": None}]
        assert asked == [True, False]  # again when a worker can see the row


class TestPause:
    def test_pause__pauses_and_resumes(self, operator: Client) -> None:
        page = operator.post(PAUSE, {"only": "posts", "why": "load"}, follow=True).content.decode()
        assert (
            "Paused: posts. The schedule leaves it alone; changes, deploys and people still warm it." in page
        )
        assert not PeriodicTask.objects.get(name="warm posts").enabled
        assert state_of(operator, "posts") == "paused"
        assert "paused: only people, deploys and changes warm it" in row(operator, "posts")
        assert 'aria-label="Resume posts"' in operator.get(OVERVIEW).content.decode()
        operator.post(WARM, {"only": "posts"})
        assert WarmingRun.objects.get().state == State.COMPLETE
        operator.post(RESUME, {"only": "posts"})
        assert PeriodicTask.objects.get(name="warm posts").enabled
        assert state_of(operator, "posts") != "paused"
        assert [message for _, _, message in log()] == [
            "Paused the schedule. Why: load",
            f"Warm now: run {WarmingRun.objects.get().pk}.",
            "Resumed the schedule.",
        ]

    def test_pause__twice_changes_nothing(self, operator: Client) -> None:
        operator.post(PAUSE, {"only": "posts"})
        page = operator.post(PAUSE, {"only": "posts"}, follow=True).content.decode()
        assert "Paused already: posts" in page
        assert len(log()) == 1

    def test_pause__others_are_left_alone(self, operator: Client) -> None:
        others = PeriodicTask.objects.exclude(name="warm posts").order_by("id")
        before = list(others.values())
        operator.post(PAUSE, {"only": "posts"})
        assert list(others.values()) == before

    def test_pause__job_that_is_not_scheduled(self, operator: Client) -> None:
        warm("loose", name="loose", every=None)(lambda: 1)
        page = operator.post(PAUSE, {"only": "loose"}, follow=True).content.decode()
        assert "loose is not scheduled" in page
        assert log() == []

    def test_pause__of_a_failed_job_is_said_beside_the_failure(self, operator: Client) -> None:
        run_of("posts", State.FAILED)
        operator.post(PAUSE, {"only": "posts"})
        assert state_of(operator, "posts") == "failed"
        assert "paused:" in row(operator, "posts")


class TestAudit:
    def test_audit__of_several_jobs(self, operator: Client, make_post: Any) -> None:
        make_post()
        jobs["posts"].warm()  # type: ignore[attr-defined]
        page = operator.post(AUDIT, {"job": ["posts", "popular_posts"]}, follow=True).content.decode()
        assert "Asked for an audit of posts" in page
        found = {audit.job: audit for audit in CacheAudit.objects.all()}
        assert set(found) == {"posts", "popular_posts"}
        assert (found["posts"].trigger, found["posts"].right, found["posts"].wrong) == ("admin", 1, 0)
        assert {message for _, _, message in log()} == {"Asked for an audit."}


class TestPermissions:
    @pytest.mark.parametrize("url", PERMISSIONS)
    def test_permissions__by_get_is_405(self, operator: Client, url: str) -> None:
        assert operator.get(url).status_code == 405

    @pytest.mark.parametrize("url", PERMISSIONS)
    def test_permissions__without_the_permission_there_is_no_button_and_the_url_is_403(
        self, log_in: Callable[..., Client], url: str
    ) -> None:
        cache.set("posts", "kept")
        others = {*PERMISSIONS.values(), "edit_schedule", "cancel_run"} - {PERMISSIONS[url]}
        client = log_in("view_job", "view_warmingrun", *others)
        before = list(PeriodicTask.objects.order_by("id").values())
        assert client.post(url, {"only": "posts", "confirmed": "yes"}).status_code == 403
        assert not WarmingRun.objects.exists()
        assert not CacheAudit.objects.exists()
        assert list(PeriodicTask.objects.order_by("id").values()) == before
        for page in (OVERVIEW, f"{JOBS}posts/schedule/"):
            assert url not in client.get(page).content.decode()

    @pytest.mark.parametrize("url", PERMISSIONS)
    def test_permissions__with_the_permission_alone_it_works(
        self, log_in: Callable[..., Client], url: str
    ) -> None:
        client = log_in(PERMISSIONS[url])
        if url == RESUME:
            PeriodicTask.objects.filter(name="warm posts").update(enabled=False)
        assert f'"{url}"' in client.get(OVERVIEW).content.decode()
        answer = client.post(url, {"only": "posts", "confirmed": "yes"})
        assert answer.status_code == 302
        assert len(log()) == 1

    @pytest.mark.parametrize("url", PERMISSIONS)
    def test_permissions__without_the_csrf_token_is_403(self, operator: Client, url: str) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = operator.cookies
        assert strict.post(url, {"only": "posts", "confirmed": "yes"}).status_code == 403
        assert log() == []

    @pytest.mark.parametrize("url", PERMISSIONS)
    def test_permissions__none_chosen(self, operator: Client, url: str) -> None:
        assert "No job was chosen" in operator.post(url, follow=True).content.decode()
        assert log() == []

    @pytest.mark.parametrize("url", PERMISSIONS)
    def test_permissions__unknown_job_begins_nothing(self, operator: Client, url: str) -> None:
        data = {"job": ["posts", "post<b>"], "confirmed": "yes"}
        page = operator.post(url, data, follow=True).content.decode()
        assert "There is no job" in page
        assert "post<b>" not in page
        assert log() == []
        assert not WarmingRun.objects.exists()

    def test_permissions__only_looking_shows_no_button(self, log_in: Callable[..., Client]) -> None:
        page = log_in("view_job").get(OVERVIEW).content.decode()
        assert ">posts</a>" in page
        assert "formaction" not in page
        assert RUNS not in page.replace('"/admin/warmer/warmingrun/add', "")

    def test_permissions__who_may_only_see_runs_sees_no_jobs(self, log_in: Callable[..., Client]) -> None:
        client = log_in("view_warmingrun")
        assert ">posts</a>" not in client.get(OVERVIEW).content.decode()
        assert RUNS in client.get(OVERVIEW).content.decode()
        assert client.get(JOBS).status_code == 403
        assert client.get(f"{JOBS}posts/schedule/").status_code == 403

    def test_permissions__without_any_permission(self, log_in: Callable[..., Client]) -> None:
        client = log_in()
        assert client.get(OVERVIEW).status_code == 404
        for url in (JOBS, RUNS, f"{JOBS}posts/schedule/"):
            assert client.get(url).status_code == 403

    def test_permissions__not_logged_in_leads_to_the_log_in(self, client: Client) -> None:
        for url in (OVERVIEW, JOBS, RUNS, f"{JOBS}posts/schedule/"):
            assert client.get(url)["Location"].startswith(reverse("admin:login"))
        for url in PERMISSIONS:
            assert client.post(url, {"only": "posts"})["Location"].startswith(reverse("admin:login"))
