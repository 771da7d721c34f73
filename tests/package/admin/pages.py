"""Where the pages are, how to read them and the log, and rows for them to show."""

import re
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from warmer.admin import health
from warmer.models import BeatProcess, CacheAudit, JobObservation, State, Trigger, WarmingRun
from warmer.report import Report

OVERVIEW = "/admin/warmer/"
JOBS = "/admin/warmer/job/"
POSTS = f"{JOBS}posts/change/"
RUNS = "/admin/warmer/warmingrun/"
AUDITS = "/admin/warmer/cacheaudit/"
RUNBOOK = reverse("admin:warmer_runbook")
ACTIONS = {
    "warm": "warm_job",
    "invalidate": "invalidate_job",
    "audit": "audit_job",
    "repair": "invalidate_job",
    "pause": "pause_job",
    "resume": "pause_job",
}
# What differs between runs of the tests.
MASKS = {
    r"[A-Z][a-z]+\.? \d+, \d{4}, ([\d:]+ [ap]\.m\.|noon|midnight)": "TIME",
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d": "TIME",
    r"\d\d:\d\d:\d\d": "TIME",
    r"\b(run|Run) \d+": r"\1 N",
}
PROJECT = {"user_profiles", "popular_posts", "posts"}


def act(client: Client, action: str, *names: str, url: str = JOBS, follow: bool = False, **data: Any) -> Any:
    """Press the button of an action for the chosen jobs, as the overview's form sends it."""
    return client.post(url, {"action": action, "job": names, **data}, follow=follow)


def let_beat_run() -> None:
    """Let beat have sent something just now."""
    BeatProcess.objects.create(name="gen1@a", last_at=timezone.now())


def page_of(client: Client, run: WarmingRun, **query: str) -> str:
    """Return the page of a run."""
    return client.get(f"{RUNS}{run.pk}/change/", query).content.decode()


def text_of(html: str) -> str:
    """Return the content of a page as text, a line for each line that has any."""
    content = html[html.index('<div id="content"') : html.index("<!-- END Content -->")]
    content = re.sub(r"(<wbr>)|<(script|title).*?</\2>", "", content, flags=re.S)
    blocks = r"</?(tr|li|p|h\d|div|section|dl|legend|form|ul|table|option)\b[^>]*>"
    text = re.sub(r"<[^>]+>", " ", re.sub(blocks, "\n", re.sub(r"\s+", " ", content)))
    for entity, character in {"&nbsp;": " ", "\xa0": " ", "&hellip;": "...", "&#x27;": "'"}.items():
        text = text.replace(entity, character)
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


def row(client: Client, job: str) -> str:
    """Return a job's row of the overview, as text."""
    html = _row(client, job)
    return " ".join(re.sub(r"<[^>]+>", " ", html).replace("&nbsp;", " ").replace("\xa0", " ").split())


def listed(client: Client, **query: str) -> set[str]:
    """Return the jobs that the overview shows."""
    return set(re.findall('data-warmer-job="([^"]*)"', client.get(OVERVIEW, query).content.decode()))


def state_of(client: Client, job: str) -> str:
    """Return the state of a job on the overview."""
    match = re.search(r"warmer-state-(\w+)", _row(client, job))
    assert match is not None
    return match[1]


def run_of(job: str, state: State = State.COMPLETE, *, seconds: float = 2, **fields: Any) -> WarmingRun:
    """Create an ended run."""
    now = timezone.now()
    times = {"requested_at": now, "expires_at": now, "finished_at": now}
    known = {"trigger": Trigger.SCHEDULE, "started_at": now - timedelta(seconds=seconds), **times}
    return WarmingRun.objects.create(job=job, state=state, **known | fields)


def numbers_of(page: str) -> list[int]:
    """Return the runs that a page links, in its order."""
    return [int(part.split("/")[0]) for part in page.split(f'href="{RUNS}')[1:] if "/change/" in part[:20]]


def report(**counts: Any) -> Report:
    """Return what a batch of the job 'posts' reports."""
    return Report(job="posts", **{"batches": 1, **counts})


def log() -> list[tuple[str, str, str]]:
    """Return who did what with which job or run, oldest first."""
    entries = LogEntry.objects.order_by("pk")
    return [(entry.user.username, entry.object_id, entry.get_change_message()) for entry in entries]


def _row(client: Client, job: str) -> str:
    page = client.get(OVERVIEW).content.decode().replace("<wbr>", "")
    (found,) = [each for each in re.findall(r"<tr\b.*?</tr>", page, flags=re.S) if f">{job}</a>" in each]
    return found


def observation(job: str, **fields: Any) -> JobObservation:
    return JobObservation.objects.create(job=job, **{"observed_at": timezone.now(), "sampled": 4, "cached": 4} | fields)


def audit(job: str = "posts", **fields: Any) -> CacheAudit:
    known = {"trigger": "admin", "started_at": timezone.now(), "sampled": 5, "right": 5, "queries": 1}
    return CacheAudit.objects.create(job=job, **known | fields)


def wrong_audit(job: str, **fields: Any) -> CacheAudit:
    return audit(job, **{"right": 4, "wrong": 1} | fields)


def queries_of(client: Client, url: str, **query: str) -> int:
    """Return how many queries a page takes, among them those that a process makes once."""
    with CaptureQueriesContext(connection) as queries:
        assert client.get(url, query).status_code == 200
    return len(queries)


def strip(client: Client) -> dict[str, Any]:
    """Return the level, the text and the section of the runbook of each item of the strip, by their labels."""
    page = client.get(OVERVIEW).content.decode()
    found = {}
    for level, label, rest in re.findall(
        r'<div class="warmer-health-(\w+)">\s*<dt>(.*?)</dt>\s*<dd>(.*?)</dd>', page, flags=re.S
    ):
        text = " ".join(re.sub("<[^>]+>", " ", rest).split())
        section = "".join(re.findall(rf'href="{RUNBOOK}#([\w-]+)"', rest))
        found[label] = SimpleNamespace(level=level, text=text, section=section)
    return found


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """Return a list that gets an entry for each call of a function of the strip."""
    counted = Mock(wraps=getattr(health, name))
    monkeypatch.setattr(health, name, counted)
    return counted.call_args_list


def observed(**ago: float) -> None:
    """Record that a job was last observed this long ago."""
    at = timezone.now() - timedelta(**ago)
    JobObservation.objects.update_or_create(job="posts", defaults={"attempted_at": at})
    BeatProcess.objects.update_or_create(name="gen1@a", defaults={"last_at": at})
