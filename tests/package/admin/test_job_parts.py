"""The parts of a job's page: one key, never its value, and the actions on it; and the history, an hour a bar."""

import json
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from embedded.redis_server import RedisServer
from tests.package.admin.pages import JOBS, POSTS, RUNBOOK, log, text_of
from warmer import warm, warm_many
from warmer.admin import health
from warmer.models import ChangeRecord, JobHour, start_of_hour

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]
THINGS = f"{JOBS}things/change/"
SECRET = "the-value-itself"
ONE = UUID("0e09adc4-2f5c-4f5c-9d3e-1a1b2c3d4e5f")


def declare(*ids: Any, **options: Any) -> Any:
    @warm_many("thing:{id}", name="things", ids=lambda: ids, timeout=3_600, **options)
    def things(ids: Sequence[Any]) -> Any:
        return {id: SECRET for id in ids if id != 4}

    return things


def section(client: Client, id: str, url: str = THINGS) -> str:
    """Return what the page shows of a key, as text."""
    answer = client.get(url, {"id": id})
    assert answer.status_code == 200
    page = answer.content.decode()
    assert SECRET not in page
    text = text_of(page)
    return text[text.index("Look up") : text.index("Last runs")]


def post(client: Client, action: str, id: str, **data: str) -> list[str]:
    answer = client.post(f"{THINGS}?id=1", {"action": action, "id": id, **data}, follow=True)
    assert answer.redirect_chain == [(f"{THINGS}?id=1", 302)]
    return [f"{message.level_tag}: {message}" for message in answer.context["messages"]]


def test_key__cached_or_not(operator: Client) -> None:
    job = declare(1, 2)
    job.warm([1])
    shown = section(operator, " 1 ")
    assert "thing:1" in shown
    assert "Cached yes" in shown
    assert "Expires in 59 min" in shown or "Expires in 1 h" in shown
    assert f"Size {len(json.dumps(SECRET))} bytes" in shown
    assert "Size" not in section(operator, "2")
    assert "Cached no" in section(operator, "2")
    assert "Cached" not in text_of(operator.get(THINGS).content.decode()).partition("One key")[2][:40]


@pytest.mark.parametrize(
    ("ids", "text", "key"),
    [((1,), "007", "thing:7"), (("a",), "007", "thing:007"), ((ONE,), str(ONE).upper(), f"thing:{ONE}")],
)
def test_id__is_of_the_type_of_the_declared_ones(operator: Client, ids: Any, text: str, key: str) -> None:
    declare(*ids)
    cache.set(key, SECRET)
    assert post(operator, "warm_key", text) == [f"success: Warmed {key}."]
    assert f"Key {key}" in section(operator, text)


@pytest.mark.parametrize("declared", [1, "a", ONE, None])
def test_id__that_cannot_be_one_is_refused(operator: Client, declared: Any) -> None:
    declare(*[] if declared is None else [declared])
    looked_up = {
        id: "Cached no" in section(operator, id) for id in ("x", "*", "1.5", "", "1\0", "1 2", "1:2", "{1}", "9" * 300)
    }
    # Where ids are text, a star is one like any other: it is no pattern.
    expected = {"x", "*", "1.5"} if isinstance(declared, str | None) else set()
    assert {id for id, was in looked_up.items() if was} == expected
    assert operator.get(f"{THINGS}?id=%ff%00").status_code == 200


def test_ids__are_read_once_and_not_when_the_page_updates_itself(operator: Client) -> None:
    job, reads = declare(1), []
    job.spec.__dict__["ids"] = lambda: reads.append(1) or [1]
    assert "Cached no" in section(operator, "1")
    assert len(reads) == 1
    assert operator.get(THINGS, {"id": "1", "live": "1"}).status_code == 200
    assert len(reads) == 1
    job.spec.__dict__["ids"] = lambda: 1 / 0  # which is no fault of the page
    assert "ZeroDivisionError" in section(operator, "1")


def test_single_job__has_no_id(operator: Client) -> None:
    job = warm("only", name="things")(lambda: SECRET)
    job.warm()
    assert "Cached yes" in section(operator, "whatever")
    assert post(operator, "invalidate_key", "") == ["success: Invalidated only."]
    assert cache.get("only") is None


def test_actions__change_this_key_only_and_are_logged(operator: Client) -> None:
    job = declare(1, 2)
    job.warm()
    assert post(operator, "invalidate_key", "1", why="wrong price") == ["success: Invalidated thing:1."]
    assert cache.get_many(["thing:1", "thing:2"]) == {"thing:2": SECRET}
    assert post(operator, "warm_key", "1") == ["success: Warmed thing:1."]
    assert cache.get("thing:1") == SECRET
    assert log() == [
        ("olga", "things", "Invalidated thing:1. Reason: wrong price"),
        ("olga", "things", "Warmed thing:1."),
    ]


def test_warm__without_declared_ids_is_refused(operator: Client) -> None:
    @warm_many("thing:{id}", name="things", ids=list, negative_timeout=60)
    def things(ids: Sequence[Any]) -> Any:
        return {id: SECRET for id in ids if id == 7}  # not for "7"

    assert post(operator, "warm_key", "7")[0].startswith("error: ")
    assert things.get(7) == SECRET


@pytest.mark.parametrize(
    ("declared", "id", "said"),
    [([1, 4], "4", "error: Not warmed: thing:4: no_value"), ([1, 4], "nothing\0", "error: ")],
)
def test_warm__says_why_a_key_was_not(operator: Client, declared: list[int], id: str, said: str) -> None:
    declare(*declared)
    cache.set("thing:1", SECRET)
    (shown,) = post(operator, "warm_key", id)
    assert shown.startswith(said)
    assert cache.get("thing:1") == SECRET
    assert post(operator, "invalidate_key", "1") == ["success: Invalidated thing:1."]


@pytest.mark.usefixtures("impatient_cache")
@pytest.mark.parametrize("failure", ["stop", "pause"])
def test_cache__that_is_away_is_named_and_an_invalidation_recorded(
    operator: Client, redis_server: RedisServer, failure: str
) -> None:
    declare(1)
    getattr(redis_server, failure)()
    assert "The cache" in section(operator, "1")
    assert f'href="{RUNBOOK}#{health.DOWN}"' in operator.get(THINGS, {"id": "1"}).content.decode()
    assert post(operator, "warm_key", "1")[0].startswith("error: Not warmed: thing:1: ")
    assert post(operator, "invalidate_key", "1")[0].startswith("warning: Recorded: ")
    assert ChangeRecord.objects.get(applied_at=None).rows == "[1]"


# -- the history -----------------------------------------------------------------------------------------
def put(hours_ago: int, *, job: str = "posts", **fields: float) -> None:
    known = {"observed": 2, "coverage_sum": 2.0, "coverage_min": 1.0, "pending_max": 0}
    hour = start_of_hour(timezone.now()) - timedelta(hours=hours_ago)
    JobHour.objects.create(job=job, hour=hour, **known | fields)


def charts(client: Client, **query: str) -> dict[str, str]:
    """Return the charts of the job 'posts' by name."""
    page = client.get(POSTS, query).content.decode()
    figures = re.findall(r"<figure.*?</figure>", page, flags=re.S)
    return {re.search(r"<figcaption>(.*?):", each)[1]: each for each in figures}  # type: ignore[index]


def titles(chart: str) -> list[str]:
    """Return what is said of each step, without the time."""
    return [text.partition(":")[2][3:].lstrip(": ") for text in re.findall("<title>(.*?)</title>", chart)]


def heights(chart: str, kind: str) -> dict[int, float]:
    """Return the heights of the bars of a kind by their hours."""
    bars = re.findall(rf'class="warmer-{kind}" x="(\d+)" y="([\d.]+)" width="1" height="([\d.]+)"', chart)
    assert all(float(y) + float(height) == 100 for _, y, height in bars)
    return {int(x): float(height) for x, _, height in bars}


def test_bars__are_hours_with_gaps_where_nothing_was_observed(operator: Client) -> None:
    put(3, coverage_sum=1.0, coverage_min=0.2)
    put(1)
    put(0)
    chart = charts(operator)["In the cache"]
    # Of the 24 hours the third last is missing.
    assert heights(chart, "mean") == {20: 50, 22: 100, 23: 100}
    assert heights(chart, "lowest") == {20: 20, 22: 100, 23: 100}
    assert titles(chart)[-4:] == ["50 %, minimum 20 %", "not observed", *["100 %, minimum 100 %"] * 2]
    assert chart.count("warmer-gap") == 21
    assert 'role="img" aria-label="In the cache: 100 %"' in chart


def test_measures__name_what_an_hour_came_to(operator: Client) -> None:
    put(2, hits=3, misses=1, runs=2, run_seconds=5.0, failed_runs=1, pending_max=7)
    put(0)
    shown = {name: titles(chart)[-3] for name, chart in charts(operator).items()}
    assert shown == {
        "In the cache": "100 %, minimum 100 %; 1 run failed",
        "Hit rate": "75 % of 4 reads; 1 run failed",
        "Duration": "2.50 s, 2 runs; 1 run failed",
        "Pending invalidations": "7; 1 run failed",
    }
    assert [titles(chart)[-1] for chart in charts(operator).values()][1:] == [*("no data", "no data", "0")]
    # The highest value is the upper edge where there is no natural one.
    assert heights(charts(operator)["Duration"], "mean") == {21: 100}


def test_reads__that_are_not_counted_are_not_taken_for_none(operator: Client, settings: Any) -> None:
    put(0)
    assert "no data" in charts(operator)["Hit rate"]
    settings.WARMER_COUNT_READS = False
    assert "Hit rate" not in charts(operator)


def test_span__week_or_day_and_the_refresh_of_the_page(operator: Client) -> None:
    put(30, job="posts")
    put(0, job="popular_posts")
    assert charts(operator) == charts(operator, span="nothing") == {}
    (*_, chart) = charts(operator, span="week").values()
    assert len(titles(chart)) == 7 * 24
    assert titles(chart)[-31] == "0"
    assert len(re.findall("<text", chart)) in (6, 7)  # a label for each midnight, except at the very end
    fragment = operator.get(POSTS, {"live": "1", "span": "week"}).content.decode()
    assert "<html" not in fragment
    assert set(re.findall('data-warmer-part="([^"]*)"', fragment)) == {"now", "history", "runs"}
    assert "live=1" not in fragment
