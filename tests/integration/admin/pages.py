"""Where the pages are, and what the overview and the log say."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from warmer.models import State, Trigger, WarmingRun

OVERVIEW = "/admin/warmer/"
JOBS = "/admin/warmer/job/"
OVERVIEW_ALONE = f"{JOBS}overview/"
WARM = f"{JOBS}warm/"
INVALIDATE = f"{JOBS}invalidate/"
AUDIT = f"{JOBS}audit/"
PAUSE = f"{JOBS}pause/"
RESUME = f"{JOBS}resume/"
RUNS = "/admin/warmer/warmingrun/"
PROJECT = {"user_profiles", "popular_posts", "posts"}


def row(client: Client, job: str, url: str = OVERVIEW) -> str:
    """Return a job's row of the overview, as text."""
    html = _row(client, job, url)
    return " ".join(re.sub(r"<[^>]+>", " ", html).replace("&nbsp;", " ").replace("\xa0", " ").split())


def listed(client: Client, url: str = OVERVIEW, **query: str) -> set[str]:
    """Return the jobs that the overview shows."""
    return set(re.findall('data-warmer-job="([^"]*)"', client.get(url, query).content.decode()))


def state_of(client: Client, job: str) -> str:
    """Return the state that the overview says a job is in."""
    match = re.search(r"warmer-state-(\w+)", _row(client, job, OVERVIEW))
    assert match is not None
    return match[1]


def _row(client: Client, job: str, url: str) -> str:
    page = client.get(url).content.decode().replace("<wbr>", "")
    (found,) = [each for each in re.findall(r"<tr\b.*?</tr>", page, flags=re.S) if f">{job}</a>" in each]
    return found


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


def log() -> list[tuple[str, str, str]]:
    """Return who did what with which job, the first first."""
    entries = LogEntry.objects.order_by("pk")
    return [(entry.user.username, entry.object_id, entry.get_change_message()) for entry in entries]
