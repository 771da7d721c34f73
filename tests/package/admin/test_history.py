"""The history on a job's page: each hour is drawn, and one without an observation is a gap."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.package.admin.pages import POSTS
from warmer.models import JobHour, start_of_hour

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


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
    assert titles(chart)[-4:] == ["50 %, at lowest 20 %", "not observed", *["100 %, at lowest 100 %"] * 2]
    assert chart.count("warmer-gap") == 21
    assert 'role="img" aria-label="In the cache: 100 %"' in chart


def test_measures__name_what_an_hour_came_to(operator: Client) -> None:
    put(2, hits=3, misses=1, runs=2, run_seconds=5.0, failed_runs=1, pending_max=7)
    put(0)
    shown = {name: titles(chart)[-3] for name, chart in charts(operator).items()}
    assert shown == {
        "In the cache": "100 %, at lowest 100 %; 1 run failed",
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
