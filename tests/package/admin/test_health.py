"""The health strip: what stands still is red, says why and what to do; what hangs holds up no page."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, NoReturn

import pytest
from celery import current_app
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from config import celery_app as project_app
from embedded.ports import free_port
from embedded.redis_server import RedisServer
from tests.package.admin.pages import OVERVIEW, POSTS, text_of
from tests.package.doctor.conftest import broker_at, serve  # noqa: F401
from tests.package.doctor.support import PASSWORD, Serve, cache_entry, overfill
from tests.support.waiting import make_waiting
from users.models import CustomUser
from warmer import invalidation, warm
from warmer.admin import health, questions
from warmer.models import BeatProcess, ChangeRecord, JobObservation, Trigger, WarmingRun
from warmer.monitoring.alerts import ALERTS
from warmer.runs import open_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]
TEMPLATES = Path(health.__file__).parents[1] / "templates"
RUNBOOK = reverse("admin:warmer_runbook")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An item as the page shows it."""

    level: str
    text: str
    section: str


def strip(client: Client) -> dict[str, Shown]:
    """Return the items of the strip, by their labels."""
    page = client.get(OVERVIEW).content.decode()
    found = {}
    for level, label, rest in re.findall(
        r'<div class="warmer-health-(\w+)">\s*<dt>(.*?)</dt>\s*<dd>(.*?)</dd>', page, flags=re.S
    ):
        text = " ".join(re.sub("<[^>]+>", " ", rest).split())
        section = "".join(re.findall(rf'href="{RUNBOOK}#([\w-]+)"', rest))
        found[label] = Shown(level=level, text=text, section=section)
    return found


@pytest.fixture
def olga(operator: Client, settings: Any) -> Client:
    """The operator, with a session that needs no cache."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    operator.force_login(CustomUser.objects.get(username="olga"))
    return operator


@pytest.fixture
def use_broker(broker_at: Callable[[str], None]) -> Iterator[Callable[[str], None]]:  # noqa: F811
    """Return a function that makes Celery use a broker, in other threads too."""

    def use(url: str) -> None:
        broker_at(url)
        current_app.set_default()

    yield use
    project_app.set_default()


@pytest.fixture
def silent_address() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://:{PASSWORD}@127.0.0.1:{listener.getsockname()[1]}/0"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for what answers, on a machine that may be busy."""
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 20.0)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pages give up at once."""
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 0.01)


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """Return a list that gets an entry for each call of a function of the strip."""
    calls: list[Any] = []
    function = getattr(health, name)

    def counted(*args: Any) -> Any:
        calls.append(args)
        return function(*args)

    monkeypatch.setattr(health, name, counted)
    return calls


def observed(**ago: float) -> None:
    """Let beat's message of a minute be done so long ago."""
    at = timezone.now() - timedelta(**ago)
    JobObservation.objects.update_or_create(job="posts", defaults={"attempted_at": at})
    BeatProcess.objects.update_or_create(name="gen1@a", defaults={"last_at": at})


# -- what stands still -------------------------------------------------------------------------


def test_strip__nothing_stands_still(
    olga: Client,
    use_broker: Callable[[str], None],
    serve: Serve,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
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


def test_strip__without_a_broker_there_is_nothing_to_ask(olga: Client) -> None:
    assert list(strip(olga)) == ["Cache default", "Pending invalidations"]


def test_workers__none_is_a_problem_unless_one_worked_lately(
    olga: Client,
    use_broker: Callable[[str], None],
    serve: Serve,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "PING_SECONDS", 0.01)
    use_broker(serve().url())
    run = open_run("posts", Trigger.SCHEDULE).run
    WarmingRun.objects.filter(pk=run.pk).update(requested_at=timezone.now() - timedelta(minutes=7))
    queue = strip(olga)["Queue warming"]
    assert (queue.level, queue.section) == ("problem", health.RUNS)
    assert "no worker 0 messages, oldest queued run 7 min" in queue.text
    observed(seconds=30)
    queue = strip(olga)["Queue warming"]
    assert queue.level == "warning"
    assert re.search(r"No worker answers; one worked \d+ s ago\.", queue.text)


def test_workers__that_had_no_time_to_answer_are_unknown_if_one_worked_lately(
    olga: Client, use_broker: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def late() -> NoReturn:
        raise TimeoutError

    use_broker(f"redis://127.0.0.1:{free_port()}/0")
    monkeypatch.setattr(health, "_look_at_broker", lambda: {"warming": 0})
    monkeypatch.setattr(health, "_look_for_workers", late)
    assert strip(olga)["Queue warming"].level == "problem"
    observed(seconds=30)
    assert strip(olga)["Queue warming"].level == "unknown"


@pytest.mark.parametrize(
    ("messages", "minutes", "level"), [(3, 1, "ok"), (3, 3, "problem"), (500, 1, "warning")]
)
def test_workers__that_do_not_keep_up(
    olga: Client,
    use_broker: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    messages: int,
    minutes: int,
    level: str,
) -> None:
    use_broker(f"redis://127.0.0.1:{free_port()}/0")
    monkeypatch.setattr(health, "_look_at_broker", lambda: {"warming": messages})
    monkeypatch.setattr(health, "_look_for_workers", lambda: {"warming": ["w@host"]})
    run = open_run("posts", Trigger.SCHEDULE).run
    WarmingRun.objects.filter(pk=run.pk).update(requested_at=timezone.now() - timedelta(minutes=minutes))
    assert strip(olga)["Queue warming"].level == level


def test_broker__down__is_named_without_its_login(olga: Client, use_broker: Callable[[str], None]) -> None:
    use_broker(f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0")
    found = strip(olga)
    assert (found["Broker"].level, found["Broker"].section) == ("problem", health.BROKER)
    assert found["Queue warming"].text == "unknown"
    assert PASSWORD not in olga.get(OVERVIEW).content.decode()


@pytest.mark.parametrize("minutes", [None, 6])
def test_beat__silent(olga: Client, use_broker: Callable[[str], None], minutes: int | None) -> None:
    use_broker(f"redis://127.0.0.1:{free_port()}/0")
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


def test_cache__full(olga: Client, settings: Any, serve: Serve) -> None:  # noqa: F811
    server = serve(maxmemory_policy="noeviction")
    settings.CACHES = {"default": cache_entry(server)}
    overfill(server)
    cache = strip(olga)["Cache default"]
    assert (cache.level, cache.section) == ("problem", health.FULL)
    assert re.match(r"full [\d.]+ % of 4 MiB, 0 evicted", cache.text)


@pytest.mark.parametrize(
    ("state", "level", "section"),
    [
        ({"rdb_last_bgsave_status": "err"}, "problem", health.UNSAVED),
        ({"loading": 1}, "warning", health.DOWN),
    ],
)
def test_cache__whose_server_is_not_itself(
    olga: Client, monkeypatch: pytest.MonkeyPatch, state: dict[str, Any], level: str, section: str
) -> None:
    look = health._look_at_cache
    monkeypatch.setattr(health, "_look_at_cache", lambda alias: [{**look(alias)[0], **state}])
    cache = strip(olga)["Cache default"]
    assert (cache.level, cache.section) == (level, section)


def test_cache__other_than_redis(olga: Client, settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    assert strip(olga)["Cache default"].text == "up"


@pytest.mark.parametrize(("seconds", "level"), [(10, "ok"), (60, "warning"), (150, "problem")])
def test_pending__by_their_age(olga: Client, seconds: int, level: str) -> None:
    make_waiting("posts", [1])
    ChangeRecord.objects.update(recorded_at=timezone.now() - timedelta(seconds=seconds))
    pending = strip(olga)["Pending invalidations"]
    assert pending.level == level
    assert pending.section == (health.PENDING if level != "ok" else "")


def test_queue__its_name_is_escaped(olga: Client, use_broker: Callable[[str], None]) -> None:
    use_broker(f"redis://127.0.0.1:{free_port()}/0")
    warm("x", name="x", queue="<b>bold")(lambda: 1)
    assert "Queue &lt;b&gt;bold" in strip(olga)


# -- what hangs --------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_hanging__cache_is_asked_once_and_given_up(
    olga: Client, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch, "_look_at_cache")
    redis_server.pause()
    monkeypatch.setattr(questions, "SHARED_SECONDS", 0.0)
    for _ in range(3):
        cache = strip(olga)["Cache default"]
        assert (cache.level, cache.section) == ("problem", health.HANGS)
    assert calls == [("default",)]


@pytest.mark.usefixtures("impatient")
def test_hanging__broker_is_asked_once_and_given_up(
    olga: Client, use_broker: Callable[[str], None], silent_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [count_calls(monkeypatch, name) for name in ("_look_at_broker", "_look_for_workers")]
    use_broker(silent_address)
    monkeypatch.setattr(questions, "SHARED_SECONDS", 0.0)
    for _ in range(3):
        found = strip(olga)
        assert (found["Broker"].level, found["Queue warming"].text) == ("problem", "unknown")
    assert asked == [[()], [()]]


@pytest.mark.usefixtures("impatient")
def test_hanging__another_database_leaves_the_rest_of_the_pages(
    olga: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = Event()
    look = invalidation.backlog
    monkeypatch.setattr(health, "written", lambda: ["default", "other"])
    monkeypatch.setattr(
        invalidation, "backlog", lambda *using: look(*using) if using == ("default",) else goes_on.wait(60)
    )
    make_waiting("posts", [1])
    found = strip(olga)
    assert "1 invalidation pending" in text_of(olga.get(POSTS).content.decode())
    goes_on.set()
    assert (found["Database other"].level, found["Database other"].section) == ("problem", health.DATABASE)
    assert found["Pending invalidations"].text.startswith("1 oldest")


def test_question__is_shared_for_a_while_then_asked_again(
    olga: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch, "_look_at_cache")
    strip(olga)
    strip(olga)
    assert len(calls) == 1
    monkeypatch.setattr(questions, "SHARED_SECONDS", 0.0)
    strip(olga)
    assert len(calls) == 2


def test_question__its_late_answer_serves_the_next_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "SHARED_SECONDS", 0.0)
    goes_on = Event()
    question = questions.ask("late", lambda: goes_on.wait(20) and "first")
    assert question.answer(0, late=60).problem == "TimeoutError"
    goes_on.set()
    assert question.answer(monotonic() + 20).value == "first"
    held = Event()
    question = questions.ask("late", lambda: held.wait(20) and "second")
    assert question.answer(0, late=60).value == "first"
    assert question.answer(0).problem == "TimeoutError"
    held.set()


def test_question__closes_the_connections_of_its_thread() -> None:
    def use_the_database() -> Any:
        connection.ensure_connection()
        return connection.connection is not None, connection._connections[connection._alias]

    answer = questions.ask("anything", use_the_database).answer(monotonic() + 20)
    assert answer.value is not None
    was_open, wrapper = answer.value
    assert was_open
    assert wrapper.connection is None


def test_cost__queries_grow_with_no_number_of_jobs(olga: Client, use_broker: Callable[[str], None]) -> None:
    use_broker(f"redis://127.0.0.1:{free_port()}/0")

    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            strip(olga)
        return len(found)

    queries()
    few = queries()
    for number in range(60):
        warm(f"key:{number}", name=f"job{number}")(lambda: 1)
        JobObservation.objects.create(job=f"job{number}", attempted_at=timezone.now())
        open_run(f"job{number}", Trigger.SCHEDULE)
    assert few <= 24
    assert queries() <= few + 1


# -- alerts and the runbook --------------------------------------------------------------------


def test_alerts__that_would_fire_are_named_with_their_jobs(
    olga: Client, use_broker: Callable[[str], None]
) -> None:
    assert "would fire" not in olga.get(OVERVIEW).content.decode()
    use_broker(f"redis://127.0.0.1:{free_port()}/0")
    for number in range(5):
        warm(f"key:{number}", name=f"job{number}", every=timedelta(minutes=1))(lambda: 1)
    page = olga.get(OVERVIEW).content.decode()
    assert f'href="{RUNBOOK}#{health.RUNS}">WarmerRequiredJobStale</a>' in page
    stale = next(line for line in text_of(page).splitlines() if "WarmerRequiredJobStale" in line)
    assert stale.startswith("Critical: ")
    assert stale.endswith("and 3 more")


def test_runbook__has_every_section_that_the_strip_leads_to(olga: Client) -> None:
    page = olga.get(RUNBOOK).content.decode()
    anchors = re.findall(r'<h2 id="([\w-]+)">', page)
    assert len(anchors) == len(set(anchors))
    sections = {
        health.RUNS,
        health.BROKER,
        health.DOWN,
        health.HANGS,
        health.FULL,
        health.UNSAVED,
        health.PENDING,
    }
    templates = "".join(path.read_text() for path in TEMPLATES.rglob("*.html"))
    written = set(re.findall(r"'admin:warmer_runbook' %\}#([\w-]+)", templates))
    assert len(written) >= 2
    assert sections | {health.DATABASE} | written | {alert.section for alert in ALERTS} <= set(anchors)
    assert set(re.findall(r'href="#([\w-]+)"', page[page.index('id="content-main"') :])) <= set(anchors)
    assert "<pre>systemctl start redis" in page
    assert "<!-- fault" not in page
    assert "<p><code>WarmerCacheDown</code>: <a" in page
    assert "start at" not in page  # the head of that table


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
