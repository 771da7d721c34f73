"""The alerts that would fire, and the runbook that everything red leads to."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from embedded.ports import free_port
from tests.package.admin.pages import OVERVIEW, RUNBOOK, count_calls, text_of, wrong_audit
from tests.package.doctor.support import cache_entry
from tests.support.waiting import make_waiting
from warmer import warm
from warmer.admin import health, questions, runbook
from warmer.models import ChangeRecord, Trigger, WarmingRun
from warmer.monitoring.alerts import ALERTS
from warmer.runs import open_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]
TEMPLATES = Path(health.__file__).parents[1] / "templates"


def test_alerts__that_would_fire_are_named_with_their_jobs(olga: Client, use_broker: Callable[[str], None]) -> None:
    use_broker(f"redis://127.0.0.1:{free_port()}/0")
    for number in range(5):
        warm(f"key:{number}", name=f"job{number}", every=timedelta(minutes=1))(lambda: 1)
    page = olga.get(OVERVIEW).content.decode()
    assert f'href="{RUNBOOK}#{health.RUNS}">WarmerScheduleSilent</a>' in page
    assert f'href="{RUNBOOK}#{health.RUNS}">WarmerRequiredJobStale</a>' in page
    stale = next(line for line in text_of(page).splitlines() if "WarmerRequiredJobStale" in line)
    assert stale.startswith("Critical: ")
    assert stale.endswith("and 3 more")


def test_alerts__without_a_broker_are_none_about_beat_workers_and_queues(
    olga: Client, use_broker: Callable[[str], None], settings: Any
) -> None:
    def named() -> set[str]:
        questions.forget()
        return set(re.findall(r">(Warmer\w+)</a>", olga.get(OVERVIEW).content.decode()))

    run = open_run("posts", Trigger.COMMAND).run
    WarmingRun.objects.filter(pk=run.pk).update(requested_at=timezone.now() - timedelta(minutes=7))
    make_waiting("posts", [1])
    ChangeRecord.objects.update(recorded_at=timezone.now() - timedelta(minutes=7))
    wrong_audit("posts")
    settings.CACHES = {"default": cache_entry(f"redis://127.0.0.1:{free_port()}/0")}
    found = {"WarmerCacheDown", "WarmerInvalidationsWait", "WarmerKeysWrong"}
    assert named() == found
    use_broker(f"redis://127.0.0.1:{free_port()}/0")
    assert named() == found | {"WarmerScheduleSilent", "WarmerRequiredJobStale", "WarmerRunsWait"}


def test_runbook__has_every_section_that_the_strip_leads_to(olga: Client) -> None:
    page = olga.get(RUNBOOK).content.decode()
    anchors = re.findall(r'<h2 id="([\w-]+)">', page)
    assert len(anchors) == len(set(anchors))
    sections = {health.RUNS, health.BROKER, health.DOWN, health.HANGS, health.FULL, health.UNSAVED, health.PENDING}
    templates = "".join(path.read_text() for path in TEMPLATES.rglob("*.html"))
    written = set(re.findall(r"'admin:warmer_runbook' %\}#([\w-]+)", templates))
    assert len(written) >= 2
    assert sections | {health.DATABASE} | written | {alert.section for alert in ALERTS} <= set(anchors)
    assert set(re.findall(r'href="#([\w-]+)"', page[page.index('id="content-main"') :])) <= set(anchors)
    assert "<pre>systemctl start redis" in page
    assert "<!-- fault" not in page
    assert "<p><code>WarmerCacheDown</code>: <a" in page
    assert "start at" not in page  # the head of that table
    assert "tells them apart [<code>docs/doctor.md</code>]" in page


@pytest.mark.parametrize(
    ("has_docs", "shown"), [(True, "<p>Restart it.</p>"), (False, "see <code>operations.md</code>")]
)
def test_runbook__where_git_made_no_symbolic_link(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_docs: bool, shown: str
) -> None:
    page = tmp_path / "package" / "runbook.md"
    page.parent.mkdir()
    page.write_text("../operations.md")
    if has_docs:
        (tmp_path / "operations.md").write_text("# Operations\n\nRestart it.\n")
    monkeypatch.setattr(runbook, "PAGE", page)
    assert shown in runbook.html.__wrapped__()


def test_strip__and_runbook_are_for_those_who_may_see_the_jobs(
    log_in: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch, "_look_at_cache")
    client = log_in("view_warmingrun")
    assert "warmer-health" not in client.get(OVERVIEW).content.decode()
    assert calls == []
    assert client.get(RUNBOOK).status_code == 403
    assert Client().get(RUNBOOK).status_code == 302
    assert log_in("view_job").get(RUNBOOK).status_code == 200
