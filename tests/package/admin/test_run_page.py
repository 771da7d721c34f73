"""The page of a run: what it shows, its progress, a retry of failed keys, and cancelling it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from embedded.waiting import wait_until
from tests.package.admin.pages import MASKS, RUNS, log, page_of, report, run_of, text_of
from warmer import runs
from warmer.admin import health
from warmer.models import State, Trigger, WarmingRun
from warmer.report import Failure

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_page(golden: Callable[..., None], operator: Client, run: WarmingRun) -> None:
    started = timezone.now() - timedelta(seconds=10)
    failures = tuple(
        Failure(key=key, error=error)
        for key, error in {"post:7": "ValueError: no", "post:8": "E: <b>", "post:9": "ValueError: no"}.items()
    )
    counts = {"skipped": 3, "no_value": 2, "failed": 25, "queries": 5}
    seconds = {"load_seconds": 1.5, "encode_seconds": 0.5, "write_seconds": 1.75, "wait_seconds": 0.25}
    runs.record_batches(run, {2: report(failures=failures, **counts, **seconds)}, worker="w2@host")
    active = text_of(page_of(operator, run))
    runs.fail(run, "It broke.")
    WarmingRun.objects.update(started_at=started, finished_at=started + timedelta(seconds=10))
    texts = [active, text_of(page_of(operator, run))]
    masks = MASKS | {r"Duration \d+\.\d+": "Duration N", r"Rate [\d.]+": "Rate N", r"left \d+ s": "left N s"}
    golden("admin_run", "\n\n".join(texts), masks=masks)


def context_of(client: Client, run: WarmingRun) -> Any:
    return client.get(f"{RUNS}{run.pk}/change/").context


def test_page__of_an_active_run_updates_itself(operator: Client, run: WarmingRun) -> None:
    page, alone = page_of(operator, run), page_of(operator, run, live="1")
    assert 'data-warmer-live="1"' in page
    assert '<noscript><meta http-equiv="refresh"' in page
    assert "warmer/live.js" in page
    assert "<html" not in alone
    assert 'data-warmer-count="written">90</td>' in alone
    parts = ("progress", "keys", "request", "work", "batches")
    assert all(f'data-warmer-part="{name}"' in alone for name in parts)
    runs.fail(run, "over")
    WarmingRun.objects.update(batches_done=900)
    page = page_of(operator, run)
    assert not any(text in page for text in ("http-equiv", "data-warmer-live", "live.js"))
    assert "Only 1 batch of 900" in page  # of a long run not every batch is kept


def test_page__links_each_key_to_its_object(operator: Client, log_in: Callable[..., Client], make_post: Any) -> None:
    post = make_post()
    failures = [{"key": f"post:{id}", "error": "E: no"} for id in (post.pk, "x y")]
    run = run_of("posts", State.FAILED, failed=2, failures=failures)
    url = f"/admin/myapp/post/{post.pk}/change/"
    assert url not in page_of(operator, run)  # which the operator may not see
    page = page_of(log_in("view_warmingrun", "view_post", username="otto"), run)
    assert f'<a href="{url}"><code>post:{post.pk}</code></a>' in page
    assert page.count("/admin/myapp/post/") == 1 + ('href="/admin/myapp/post/"' in page)


def test_retry__warms_the_named_keys_only(operator: Client, make_post: Any) -> None:
    posts = [make_post() for _ in range(3)]
    failures = [{"key": f"post:{post.pk}", "error": "E: no"} for post in posts[:2]]
    failed = run_of("posts", State.FAILED, failed=2, failures=failures)
    assert "Retry these 2 keys" in page_of(operator, failed)
    url = f"{RUNS}{failed.pk}/change/"
    answer = operator.post(url, {"action": "retry", "why": "fixed"})
    run = WarmingRun.objects.latest("pk")
    assert answer["Location"] == f"{RUNS}{run.pk}/change/"
    assert (run.trigger, run.requested_by, run.state, run.written) == ("admin", "olga", State.COMPLETE, 2)
    assert [cache.get(f"post:{post.pk}") is not None for post in posts] == [True, True, False]
    assert log() == [("olga", "posts", f"Requested run {run.pk} of posts: complete. Reason: fixed")]
    assert "2 keys that failed before" in page_of(operator, run)
    assert 'value="retry"' not in page_of(operator, run)


@pytest.mark.parametrize("job", ["gone", "posts"])
def test_retry__where_there_is_nothing_to_retry_is_403(operator: Client, job: str) -> None:
    failures = [{"key": "gone:1", "error": "E: no"}] if job == "gone" else []
    run = run_of(job, State.FAILED, failed=1, failures=failures)
    assert 'value="retry"' not in page_of(operator, run)
    assert operator.post(f"{RUNS}{run.pk}/change/", {"action": "retry"}).status_code == 403


def test_page__costs_few_queries_and_rows(
    operator: Client, run: WarmingRun, django_assert_max_num_queries: Any
) -> None:
    WarmingRun.objects.update(batches_total=200)
    for number in range(2, 120):
        runs.record_batches(run, {number: report(written=1)}, worker=f"w{number}@host")
    page_of(operator, run, live="1")
    with django_assert_max_num_queries(6):  # two of them for who asks
        page = page_of(operator, run, live="1")
    assert page.count('<td class="warmer-number">') == 50
    assert len(context_of(operator, run)["workers"]) == 119
    assert "are listed" not in page
    assert "and 69 more" in page


def test_progress__of_batches_and_time(operator: Client, run: WarmingRun) -> None:
    told = context_of(operator, run)
    assert (told["percent"], told["total_keys"]) == (25, 100)
    assert told["keys_per_second"] * 10 == pytest.approx(100, rel=0.2)
    assert told["seconds_left"] == pytest.approx(30, rel=0.2)
    runs.fail(run, "broken")
    assert context_of(operator, run)["seconds_left"] is None


def test_progress__without_a_total_goes_by_the_last_complete_run(operator: Client) -> None:
    run_of("posts", written=200, batches_done=1)
    now = runs.start(runs.open_run("posts", Trigger.COMMAND).run.pk)
    assert now is not None
    for number, (written, percent) in enumerate([(50, 25), (500, 99)]):
        runs.record_batches(now, {number: report(written=written)})
        assert context_of(operator, now)["percent"] == percent


def test_cancel__ends_the_run_with_who_and_why(operator: Client, run: WarmingRun) -> None:
    assert "Cancel this run" in page_of(operator, run)
    url = f"{RUNS}{run.pk}/change/"
    answer = operator.post(url, {"action": "cancel", "why": "too slow"}, follow=True)
    assert answer.redirect_chain == [(url, 302)]
    assert "Cancel this run" not in answer.content.decode()
    run.refresh_from_db()
    assert (run.state, run.written) == (State.CANCELLED, 90)
    assert all(word in run.error for word in ("olga", "too slow"))
    assert log() == [("olga", "posts", f"Cancelled run {run.pk}. Reason: too slow")]


@pytest.mark.parametrize(("found", "said"), [({}, "none answers. What to do"), ({"warming": ["a@host"]}, "a worker.")])
def test_queued__says_whether_a_worker_answers(
    operator: Client, monkeypatch: pytest.MonkeyPatch, found: Any, said: str
) -> None:
    monkeypatch.setattr(health.tasks, "has_broker", lambda: True)
    monkeypatch.setattr(health, "_look_for_workers", lambda: found)
    queued = runs.open_run("posts", Trigger.COMMAND).run

    def shown() -> str:
        return text_of(page_of(operator, queued))

    assert "It waits for a worker" in shown()
    wait_until(lambda: said in shown(), seconds=20, what="the page says so")
    assert runs.start(queued.pk) is not None
    assert "It waits for" not in shown()


def test_cancel__of_a_queued_run_is_over_at_once_and_of_an_ended_one_does_nothing(operator: Client) -> None:
    url = f"{RUNS}{runs.open_run('posts', Trigger.COMMAND).run.pk}/change/"
    page = operator.post(url, {"action": "cancel"}, follow=True).content.decode()
    assert "had not started" in page
    assert "data-warmer-live" not in page
    assert "had already ended" in operator.post(url, {"action": "cancel"}, follow=True).content.decode()
    assert len(log()) == 1
