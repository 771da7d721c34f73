"""Web and a worker that name the cache differently: the worker neither runs nor counts for web."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.cache import cache
from django.db import transaction
from django.test import Client

from myapp.models import Post
from tests.package.admin.pages import OVERVIEW
from tests.package.doctor.conftest import examine  # noqa: F401
from tests.package.doctor.support import Examine
from tests.package.tasks.conftest import start, work
from tests.support.commands import execute
from tests.support.waiting import make_waiting, waiting
from warmer import jobs, runs, warm
from warmer.invalidation import Relay, apply, records
from warmer.models import State, Trigger, WarmingRun
from warmer.tasks import observe_jobs

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]
Elsewhere = Callable[[], Any]


@pytest.fixture
def elsewhere(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    """Return a context in which this process is the worker, with another KEY_PREFIX than web's."""
    monkeypatch.setattr(apply, "_next_purge", {})
    monkeypatch.setattr(apply, "_other_cache", "")
    web = settings.CACHES

    @contextmanager
    def elsewhere() -> Iterator[None]:
        settings.CACHES = {"default": {**web["default"], "KEY_PREFIX": "old"}}
        apply._next_purge.clear()
        yield
        settings.CACHES = web
        apply._next_purge.clear()

    return elsewhere


@pytest.mark.parametrize("has_begun", [False, True])
def test_run__is_refused_by_a_worker_with_another_cache(
    job: Any, begin: Any, elsewhere: Elsewhere, has_begun: bool
) -> None:
    run = begin(job) if has_begun else runs.open_run("t", Trigger.COMMAND).run
    with elsewhere():
        work(run, 1, 3) if has_begun else start(run)
        assert cache.get("t:1") is None
    run.refresh_from_db()
    assert (run.state, run.written) == (State.FAILED, 0)
    assert "and web use different caches: 'key' is stored as ':1:key' on " in run.error
    assert run.error.endswith(" and as 'old:1:key' on the worker.")


def test_run__that_web_joins_does_not_count_for_it(job: Any, elsewhere: Elsewhere) -> None:
    with elsewhere():
        run = runs.open_run("t", Trigger.SCHEDULE).run
    done = execute("warm_cache", "t", "--inline")
    assert (done.status, "and is for another cache: 'key' is" in done.out) == (1, True)
    assert WarmingRun.objects.get(pk=run.pk).state == State.QUEUED


def test_observed__by_a_worker_with_another_cache_is_said(
    job: Any,
    elsewhere: Elsewhere,
    operator: Client,
    examine: Examine,  # noqa: F811
) -> None:
    observe_jobs()
    assert examine("same-cache").severity == "ok"
    with elsewhere():
        observe_jobs()
        assert examine("same-cache").severity == "ok"
    found = examine("same-cache")
    assert found.severity == "error"
    assert "A worker and web use different caches for " in found.message
    assert "A worker and web use different caches for " in operator.get(OVERVIEW).content.decode()


def test_records__wait_for_a_process_with_the_cache_of_web(job: Any, elsewhere: Elsewhere) -> None:
    runs.fail(runs.open_run("t", Trigger.DEPLOY).run, "refused")
    make_waiting("t", [1])
    cache.set("t:1", "old")
    relay = Relay()
    with elsewhere():
        cache.set("t:1", "old")
        assert relay.poll() == 1
        assert cache.get("t:1") is None  # it keeps its own right
        assert relay.poll() == 0
    assert (waiting(), cache.get("t:1")) == ([("t:{id}", "[1]")], "old")
    Relay().poll()
    assert (waiting(), cache.get("t:1")) == ([], None)


def test_request__of_a_shell_with_another_cache(job: Any, elsewhere: Elsewhere, examine: Examine) -> None:  # noqa: F811
    with elsewhere():
        runs.fail(runs.open_run("t", Trigger.COMMAND).run, "of a shell")
    observe_jobs()
    make_waiting("t", [1])
    Relay().poll()
    assert waiting()
    found = examine("same-cache")
    assert (found.severity, "The last run was requested for another cache: " in found.message) == ("error", True)
    assert found.fix.startswith("manage.py warm_cache\n")
    runs.fail(runs.open_run("t", Trigger.COMMAND).run, "of the web processes' settings")
    Relay().poll()
    assert waiting() == []
    assert examine("same-cache").severity == "ok"


def test_records__that_wait_for_another_process_are_few(
    job: Any, elsewhere: Elsewhere, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WARMER_FENCE_RECORDS = 4
    monkeypatch.setattr(records, "PAGE", 5)
    runs.fail(runs.open_run("t", Trigger.DEPLOY).run, "refused")
    relay = Relay()
    for number in range(12):
        make_waiting("t", [number])
        with elsewhere():
            relay.poll()
        assert 1 <= len(waiting()) <= 5
    cache.set("t:3", "old")
    Relay().poll()
    assert (waiting(), cache.get("t:3")) == ([], None)


def test_records__are_marked_once_a_request_means_this_cache(job: Any, elsewhere: Elsewhere) -> None:
    runs.fail(runs.open_run("t", Trigger.DEPLOY).run, "refused")
    make_waiting("t", [1])
    relay = Relay()
    with elsewhere():
        relay.poll()
        assert waiting()
        runs.fail(runs.open_run("t", Trigger.DEPLOY).run, "of the release before, which is back")
    with elsewhere():
        relay.poll()
    assert waiting() == []


def test_own_change__of_a_process_with_another_cache_waits_too(make_post: Any, elsewhere: Elsewhere) -> None:
    titles = warm("titles", name="titles", depends_on=[Post])(lambda: list(Post.objects.values_list("title")))
    post = make_post()
    Relay().poll()
    titles.warm()
    runs.fail(runs.open_run("titles", Trigger.ADMIN).run, "refused")
    with elsewhere(), transaction.atomic():  # with signals, a change in autocommit leaves no record
        post.title = "New"
        post.save()
    assert waiting() != []
    assert cache.get("titles") is not None
    Relay().poll()
    assert (waiting(), cache.get("titles")) == ([], None)


def test_records__of_two_releases_with_other_jobs_and_one_cache(job: Any, elsewhere: Elsewhere) -> None:
    """A request for a job that is not declared here says nothing of our cache."""
    with elsewhere():
        other = warm("only-there", name="only-there")(lambda: 1)
        runs.fail(runs.open_run(other.name, Trigger.DEPLOY).run, "refused")
    jobs.unregister(other.name)
    make_waiting("t", [1])
    Relay().poll()
    assert waiting() == []
