"""The health strip: what stands still is red, the alerts that would fire, and the runbook that both lead to."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from embedded.ports import free_port
from embedded.redis_server import RedisServer
from tests.package.admin.pages import OVERVIEW, RUNBOOK, count_calls, observed, strip, text_of, wrong_audit
from tests.package.doctor.support import PASSWORD, Serve, cache_entry, overfill
from tests.support.waiting import make_waiting
from warmer import warm
from warmer.admin import health, questions
from warmer.models import ChangeRecord, Trigger, WarmingRun
from warmer.monitoring.alerts import ALERTS
from warmer.runs import open_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_strip__nothing_stands_still(
    olga: Client, use_broker: Callable[[str], None], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_broker(serve().url())
    monkeypatch.setattr(health.tasks, "consumers", lambda *, timeout: {"warming": ["a@host", "b@host"]})
    observed(seconds=20)
    found = strip(olga)
    assert {label: each.level for label, each in found.items()} == dict.fromkeys(
        ("Queue warming", "Beat", "Cache default", "Pending invalidations"), "ok"
    )
    assert found["Queue warming"].text == "2 workers 0 messages"
    assert re.fullmatch(r"seen \d+ s ago", found["Beat"].text)
    assert re.fullmatch(r"up [\d.]+ MiB, no limit, 0 evicted", found["Cache default"].text)


def test_strip__without_a_broker_and_redis_there_is_little_to_ask(olga: Client, settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    found = strip(olga)
    assert list(found) == ["Cache default", "Pending invalidations"]
    assert found["Cache default"].text == "up"


def test_workers__none_is_a_problem_unless_one_worked_lately(
    olga: Client, use_broker: Callable[[str], None], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PING_SECONDS", 0.01)
    use_broker(serve().url())
    open_run("posts", Trigger.SCHEDULE)
    WarmingRun.objects.update(requested_at=timezone.now() - timedelta(minutes=7))
    queue = strip(olga)["Queue warming"]
    assert (queue.level, queue.section) == ("problem", health.RUNS)
    assert "0 workers 0 messages, oldest queued run 7 min" in queue.text
    observed(seconds=30)
    for minutes, level in ((7, "problem"), (1, "warning")):
        WarmingRun.objects.update(requested_at=timezone.now() - timedelta(minutes=minutes))
        questions.asked.clear()
        assert strip(olga)["Queue warming"].level == level


@pytest.mark.usefixtures("with_broker")
def test_workers__that_had_no_time_to_answer_are_unknown(olga: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_look_for_workers", Mock(side_effect=TimeoutError))
    queue = strip(olga)["Queue warming"]
    assert (queue.level, queue.text.split()[0]) == ("unknown", "unknown")


@pytest.mark.usefixtures("with_broker")
def test_workers__of_another_queue_do_not_hide_that_a_queue_has_none(
    olga: Client, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.WARMER_QUEUE = "upkeep"
    monkeypatch.setattr(health, "_look_for_workers", lambda: {"upkeep": ["a@host"]})
    observed(seconds=20)
    found = strip(olga)
    assert (found["Queue upkeep"].level, found["Queue warming"].level) == ("ok", "problem")


@pytest.mark.usefixtures("with_broker")
@pytest.mark.parametrize(("messages", "minutes", "level"), [(3, 1, "ok"), (3, 3, "problem"), (500, 1, "warning")])
def test_workers__that_do_not_keep_up(
    olga: Client, monkeypatch: pytest.MonkeyPatch, messages: int, minutes: int, level: str
) -> None:
    monkeypatch.setattr(health, "_look_at_broker", lambda: {"warming": messages})
    open_run("posts", Trigger.SCHEDULE)
    WarmingRun.objects.update(requested_at=timezone.now() - timedelta(minutes=minutes))
    assert strip(olga)["Queue warming"].level == level


def test_broker__down__is_named_without_its_login(olga: Client, use_broker: Callable[[str], None]) -> None:
    use_broker(f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0")
    found = strip(olga)
    assert (found["Broker"].level, found["Broker"].section) == ("problem", health.BROKER)
    assert found["Queue warming"].text == "unknown"
    assert PASSWORD not in olga.get(OVERVIEW).content.decode()


@pytest.mark.usefixtures("with_broker")
@pytest.mark.parametrize("minutes", [None, 6])
def test_beat__silent(olga: Client, minutes: int | None) -> None:
    PeriodicTask.objects.update(last_run_at=minutes and timezone.now() - timedelta(minutes=minutes))
    beat = strip(olga)["Beat"]
    assert (beat.level, beat.section) == ("problem", health.RUNS)
    assert beat.text.startswith(f"seen {minutes} min ago" if minutes else "never seen")


def test_cache__down__is_named_with_since_when_and_without_its_login(
    olga: Client, settings: Any, redis_server: RedisServer
) -> None:
    address = redis_server.url().replace("://", f"://:{PASSWORD}@")
    settings.CACHES = {"default": cache_entry(address)}
    redis_server.stop()
    cache = strip(olga)["Cache default"]
    assert (cache.level, cache.section) == ("problem", health.DOWN)
    assert re.match(r"down for \d+ s Problem: The cache does not answer \(\w+Error\)", cache.text)
    assert PASSWORD not in olga.get(OVERVIEW).content.decode()


def test_cache__full(olga: Client, settings: Any, serve: Serve) -> None:
    server = serve(maxmemory_policy="noeviction")
    settings.CACHES = {"default": cache_entry(server)}
    overfill(server)
    cache = strip(olga)["Cache default"]
    assert (cache.level, cache.section) == ("problem", health.FULL)
    assert re.match(r"full [\d.]+ % of 4 MiB, 0 evicted", cache.text)


@pytest.mark.parametrize(
    ("state", "section"),
    [
        ({"rdb_last_bgsave_status": "err"}, health.UNSAVED),
        ({"aof_last_write_status": "err"}, health.UNSAVED),
        ({"role": "slave"}, health.REPLICA),
    ],
)
def test_cache__whose_server_is_not_itself(
    olga: Client, monkeypatch: pytest.MonkeyPatch, state: dict[str, Any], section: str
) -> None:
    look = health._look_at_cache
    monkeypatch.setattr(health, "_look_at_cache", lambda alias: [{**look(alias)[0], **state}])
    cache = strip(olga)["Cache default"]
    assert (cache.level, cache.section) == ("problem", section)


@pytest.mark.parametrize(("seconds", "level"), [(10, "ok"), (60, "warning"), (150, "problem")])
def test_pending__by_their_age(olga: Client, seconds: int, level: str) -> None:
    make_waiting("posts", [1])
    ChangeRecord.objects.update(recorded_at=timezone.now() - timedelta(seconds=seconds))
    pending = strip(olga)["Pending invalidations"]
    assert pending.level == level
    assert pending.section == (health.PENDING if level != "ok" else "")


# -- alerts and the runbook ---------------------------------------------------------------------------
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
        questions.asked.clear()
        return set(re.findall(r">(Warmer\w+)</a>", olga.get(OVERVIEW).content.decode()))

    open_run("posts", Trigger.COMMAND)
    WarmingRun.objects.update(requested_at=timezone.now() - timedelta(minutes=7))
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
