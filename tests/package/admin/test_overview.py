"""The overview: how each job does, from its runs, observations and audits; and what that costs."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from tests.package.admin.pages import (
    JOBS,
    OVERVIEW,
    POSTS,
    PROJECT,
    RUNS,
    act,
    audit,
    let_beat_run,
    listed,
    observation,
    row,
    run_of,
    state_of,
    text_of,
)
from tests.support.waiting import make_waiting, without_triggers
from warmer import jobs, warm, warm_many
from warmer.invalidation import captures_by_triggers
from warmer.models import BeatProcess, ChangeRecord, State, Trigger
from warmer.monitoring.observation import observe_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.mark.usefixtures("with_broker")
def test_page(golden: Callable[..., None], operator: Client) -> None:
    PeriodicTask.objects.update(date_changed=timezone.now())  # the intervals begin now, as after `migrate`
    observation("posts", hits_hour=3, misses_hour=1, hits_day=9_999, misses_day=1, overtaken_hour=0.9)
    observation("popular_posts", error="StoreUnavailable: <b>away</b>")
    run = run_of("posts", seconds=2)
    run_of("user_profiles", State.FAILED)
    make_waiting("posts", [1])
    audit(whole=False)
    act(operator, "pause popular_posts")
    let_beat_run()
    warm("x", name="x", every=None, required=False)(lambda: 1)
    texts = [text_of(operator.get(OVERVIEW, query).content.decode()) for query in ({}, {"q": "nothing"})]
    masks = {
        r"[\d.]+ MiB": "N MiB",
        r"oldest \d s$": "oldest N s",
        rf"run ({run.pk}|{run.pk + 1})\b": "run N",
        r"\d+ s ago": "N s ago",
    }
    golden("admin_overview", "\n\n".join(texts), masks=masks)


@pytest.mark.usefixtures("with_broker")
def test_run__next_is_counted_from_the_last_scheduled_run(operator: Client) -> None:
    let_beat_run()
    # Beat saves when it last sent something every three minutes.
    PeriodicTask.objects.update(last_run_at=timezone.now() - timedelta(minutes=16))
    assert "next run due now" in row(operator, "posts")
    run_of("posts")
    run_of("posts", trigger=Trigger.ADMIN)
    assert "next run in 15 min" in row(operator, "posts")
    PeriodicTask.objects.update(last_run_at=timezone.now() - timedelta(hours=2))
    assert "next run overdue by 105 min" in row(operator, "user_profiles")


@pytest.mark.usefixtures("with_broker")
def test_run__no_next_one_while_beat_is_silent(operator: Client) -> None:
    def shown() -> list[bool]:
        pages = [row(operator, "posts"), text_of(operator.get(POSTS).content.decode())]
        return [": beat is silent" in page for page in pages]

    PeriodicTask.objects.update(last_run_at=timezone.now() - timedelta(minutes=7))
    assert "next run in" not in row(operator, "posts")
    assert shown() == [True, True]
    let_beat_run()
    assert "next run in" in row(operator, "posts")
    assert shown() == [False, False]
    BeatProcess.objects.all().delete()
    act(operator, "pause posts")  # nothing starts it in any case
    assert shown() == [False, False]


def test_run__no_next_one_where_tasks_run_in_process(operator: Client) -> None:
    warm("x", name="x", every=None)(lambda: 1)
    for name, has_every in {"posts": True, "x": False}.items():
        pages = [row(operator, name), text_of(operator.get(f"{JOBS}{name}/change/").content.decode())]
        assert ["not scheduled" in page for page in pages] == [True, True]
        assert ["not scheduled: tasks run in process" in page for page in pages] == [has_every, has_every]
        assert not any("silent" in page for page in pages)
    act(operator, "pause posts")
    assert "paused:" in row(operator, "posts")


def test_cache__coverage_is_the_state(operator: Client, make_user: Any) -> None:
    for _ in range(4):
        make_user()
    jobs["user_profiles"].warm()
    for deleted, state in ((0, "warm"), (3, "partial"), (4, "cold")):
        cache.delete_many(cache.keys("user:*:profile")[:deleted])
        observe_all(seconds=10)
        assert ("100 % oldest" in row(operator, "user_profiles")) is (state == "warm")
        assert state_of(operator, "user_profiles") == state


def test_cache__first_check_that_failed_is_not_no_check(operator: Client) -> None:
    def ids() -> list[int]:
        raise RuntimeError("ids broke <b>")

    warm_many("x:{id}", ids=ids, name="x")(lambda ids: {})
    assert "not checked yet" in row(operator, "x")
    observe_all(seconds=10)
    assert "the check failed RuntimeError: ids broke &lt;b&gt;" in row(operator, "x")
    assert "never successfully" in operator.get(f"{JOBS}x/change/").content.decode()


def test_duration__mean_is_of_complete_runs_and_all_are_drawn(operator: Client) -> None:
    for seconds in (1, 3):
        run_of("posts", seconds=seconds)
    run_of("posts", State.FAILED, seconds=90)
    assert "2.00 s" in row(operator, "posts")
    page = operator.get(OVERVIEW).content.decode()
    assert page.count('<rect class="warmer-bar-complete"') == 2
    assert page.count('<rect class="warmer-bar-failed"') == 1


def test_pending__counts_waiting_invalidations(operator: Client) -> None:
    assert "Pending invalidations none" in text_of(operator.get(OVERVIEW).content.decode())
    make_waiting("posts", [1])
    ChangeRecord.objects.create(source="myapp_post")  # on which two jobs depend
    ChangeRecord.objects.create(source="a_table_of_another_release")
    assert "2 pending" in row(operator, "posts")
    assert "1 pending" in row(operator, "popular_posts")
    assert "pending" not in row(operator, "user_profiles")
    assert "Pending invalidations 2 oldest" in text_of(operator.get(OVERVIEW).content.decode())


def test_triggers__missing_ones_are_named(operator: Client) -> None:
    assert "warm_triggers" not in operator.get(OVERVIEW).content.decode()
    with without_triggers():
        page = operator.get(OVERVIEW).content.decode()
        assert ("users_customuser" in page and "warm_triggers" in page) is captures_by_triggers()


def test_search__by_name_or_key_and_state(operator: Client) -> None:
    run_of("posts", State.FAILED)
    assert listed(operator, q="POST") == {"popular_posts", "posts"}
    assert listed(operator, q="{id}:profile") == {"user_profiles"}
    assert listed(operator, state="failed") == {"posts"}
    assert listed(operator, p="x") == PROJECT
    assert "<script>alert" not in operator.get(OVERVIEW, {"q": "<script>alert(1)"}).content.decode()


def test_index__leads_here(operator: Client) -> None:
    page = operator.get("/admin/").content.decode()
    for url in (OVERVIEW, JOBS, RUNS):
        assert f'"{url}"' in page
    assert operator.get(JOBS, {"q": "post"})["Location"] == f"{OVERVIEW}?q=post"


def test_live__is_the_same_without_the_frame_and_leaves_messages_to_the_page(operator: Client) -> None:
    run_of("posts", State.FAILED)
    act(operator, "warm")  # no job was selected, as the next page will say
    for query in ({}, {"q": "post"}, {"state": "failed"}, {"q": "none"}):
        alone = operator.get(OVERVIEW, query | {"live": "1"}).content.decode()
        page = operator.get(OVERVIEW, query).content.decode()
        assert "data-warmer-live=" in alone
        assert not any(text in alone for text in ("<html", "No job was selected", "live=1"))
        assert re.findall('data-warmer-job="([^"]*)"', alone) == re.findall('data-warmer-job="([^"]*)"', page)
        assert ("No job was selected" in page) == (query == {})
