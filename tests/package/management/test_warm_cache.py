"""`manage.py warm_cache` in this process: its effects, output and exit status. On workers: tests/system."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from django.db import transaction

from embedded.redis_server import RedisServer
from tests.package.tasks.conftest import on_a_broker  # noqa: F401
from tests.support.commands import Ended, Terminal, execute
from warmer import jobs, runs, warm, warm_many
from warmer.models import State, Trigger, WarmingRun

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def run(*args: str, **options: Any) -> Ended:
    return execute("warm_cache", *args, **options)


def printed(*args: str) -> Any:
    return json.loads(run(*args, "--json").out)


def broken_loader(ids: Any = None) -> Any:
    raise ValueError("broken")


def broken_ids() -> Any:
    yield 1
    raise RuntimeError("the list of ids is broken")


def test_output(golden: Callable[..., None], make_user: Any, make_post: Any) -> None:
    make_post(author=make_user())
    masks = {r"\d+\.\d\d": "N.NN", r"  +": "  ", r"---+": "---", r"^(\w+)  \d+  (?=[a-z])": r"\1  RUN  "}
    warm_many("x:{id}", ids=lambda: [1, "a b", 2], name="x", every=None, required=False)(dict.fromkeys)
    warm("y", name="y")(broken_loader)
    parts = [run("--list"), run("x", "posts", "--dry-run"), run("--inline"), run("y", "posts", "--inline")]
    text = "\n\n".join(f"{part.out}{part.error} [exit {part.status}]" for part in parts)
    golden("warm_cache", text, masks=masks)


def test_all__warms_every_job_and_names_the_cache(make_user: Any, make_post: Any) -> None:
    user = make_user()
    post = make_post(author=user)
    done = run()
    assert cache.get(f"user:{user.pk}:profile")["username"] == user.username
    assert cache.get("popular_posts")[0]["id"] == cache.get(f"post:{post.pk}")["id"] == post.pk
    assert "Warming in this process: no broker is configured" in done.out
    assert "Cache: default (RedisCache)" in done.out
    assert {each.job: each.trigger for each in WarmingRun.objects.all()} == dict.fromkeys(jobs, "command")


def test_verbosity_0__prints_only_json_and_errors() -> None:
    assert run("popular_posts", "--inline", verbosity=0).out == ""
    assert run("popular_posts", "--inline", "--json", verbosity=0).out
    warm("y", name="y")(broken_loader)
    assert "y" in run("y", "--inline", verbosity=0).error


def test_required__come_first() -> None:
    order = []
    warm("zz", name="zz", required=False)(lambda: order.append("optional") or 1)
    warm("yy", name="yy")(lambda: order.append("required") or 1)
    run("zz", "yy", "--inline")
    assert order == ["required", "optional"]


def test_json__is_all_that_is_printed(make_user: Any) -> None:
    make_user()
    found = printed("user_profiles", "--inline", "--trigger", "deploy")
    assert found["status"] == 0
    (job,) = found["jobs"]
    kept = WarmingRun.objects.get()
    counts = {name: job[name] for name in ("job", "run", "state", "written", "queries", "failures")}
    known = {"job": "user_profiles", "run": kept.pk, "state": "complete", "failures": []}
    assert counts == known | {"written": kept.written, "queries": kept.queries}
    assert (kept.trigger, kept.written, kept.queries) == ("deploy", 1, 2)


def test_status__unknown_job_is_2_and_names_the_nearest() -> None:
    done = run("user_profile")
    assert done.status == 2
    assert "did you mean user_profiles?" in done.error
    assert not WarmingRun.objects.exists()


@pytest.mark.parametrize(
    "args", ["--inline --no-wait", "--inline --workers", "--timeout 0", "--timeout soon", "--trigger change"]
)
def test_status__usage_is_refused(args: str) -> None:
    assert run(*args.split()).status in (1, 2)  # the parser's own errors are 2 in a shell
    assert not WarmingRun.objects.exists()


@pytest.mark.parametrize("required", [True, False])
def test_status__failed_key_is_1_for_a_required_job(required: bool) -> None:
    def loader(ids: Any) -> Any:
        return broken_loader() if 2 in ids else {id: id for id in ids}

    warm_many("x:{id}", ids=lambda: range(4), name="x", required=required)(loader)
    done = run("x", "--inline")
    assert done.status == required
    assert done.error == ("Required jobs did not complete: x." if required else "")
    assert "x:2: ValueError: broken" in done.out
    assert WarmingRun.objects.get().state == State.INCOMPLETE


def test_failures__are_named_once_for_each_reason() -> None:
    warm_many("x:{id}", ids=lambda: range(7), name="x")(broken_loader)
    warm_many("y:{id}", ids=broken_ids, name="y")(dict)
    done = run("x", "y", "--inline")
    assert done.status == 1
    assert done.out.count("ValueError: broken") == 1
    assert "\nx:0, x:1, x:2, x:3, x:4 and 2 more: ValueError: broken" in done.out
    assert "RuntimeError: the list of ids is broken" in done.out


def test_status__cache_that_keeps_nothing_is_1(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    warm_many("x:{id}", ids=lambda: range(3), name="x")(lambda ids: {id: id for id in ids})
    warm("z", name="z", required=False)(lambda: 1)
    done = run("x", "z", "--inline")
    assert (done.status, done.error[:34]) == (1, "Required jobs did not complete: x.")
    assert "No key of x, z was stored: " in done.error


@pytest.mark.parametrize(("overtaken", "written"), [([], 0), ([1], 2)])
def test_status__keys_overtaken_by_changes_are_0(overtaken: list[int], written: int) -> None:
    def loader(ids: Any) -> Any:
        job.invalidate(overtaken or None)
        return {id: id for id in ids}

    job: Any = warm_many("x:{id}", ids=lambda: range(3), name="x")(loader)
    done = run("x", "--inline")
    assert done.status == 0
    assert ("No key of x was stored: changes overtook every attempt" in done.out) is (written == 0)
    kept = WarmingRun.objects.get()
    assert (kept.written, kept.superseded) == (written, 3 - written)


def test_status__nothing_to_store_is_0(make_user: Any) -> None:
    warm_many("x:{id}", ids=list, name="x")(dict)
    assert run("x", "--inline").status == 0
    with transaction.atomic():  # as a TestCase is: every key is fenced
        make_user()
        assert run("user_profiles", "--inline").status == 0
        assert WarmingRun.objects.get(job="user_profiles").superseded == 1


def test_status__out_of_time_is_3() -> None:
    done = run("--inline", "--timeout", "0.001")
    assert (done.status, "use a longer --timeout" in done.error) == (3, True)
    assert not WarmingRun.objects.filter(active_job__isnull=False).exists()


def test_status__cache_that_is_down_or_read_only_is_1_with_one_clear_line(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.replicaof("127.0.0.1", 1)
        read_only = run("--inline")
        client.replicaof("NO", "ONE")
    redis_server.stop()
    for done, why in ((read_only, "ReadOnlyError"), (run("--inline"), "")):
        assert (done.status, done.error.count("\n")) == (1, 0)
        assert re.search(f"'default' at 127.0.0.1.*{why}.* Nothing was warmed.$", done.error)
    assert not WarmingRun.objects.exists()


@pytest.mark.parametrize("flag", ["--workers", "--no-wait"])
def test_status__no_worker_though_asked_for_is_1(flag: str) -> None:
    done = run(flag)
    assert (done.status, "CELERY_BROKER_URL" in done.error) == (1, True)
    assert not WarmingRun.objects.exists()


@pytest.mark.usefixtures("on_a_broker")
def test_workers__none_answers() -> None:
    """One may work all the same: its remote control is off, or a long task keeps it from answering."""
    done = run("--workers")
    assert (done.status, "--workers --no-wait" in done.error) == (1, True)
    assert not WarmingRun.objects.exists()
    done = run("--workers", "--no-wait")
    assert (done.status, "no worker answered" in done.out) == (0, True)
    queued = WarmingRun.objects.in_bulk(field_name="active_job")
    assert {run.state for run in queued.values()} == {"queued"}
    header, _, *rows = map(str.split, done.out.partition("\n\n")[2].splitlines())
    assert (header, rows) == (["job", "run", "state"], [[name, str(queued[name].pk), "queued"] for name in jobs])


def test_inline__log_has_the_cost(caplog: pytest.LogCaptureFixture, make_user: Any) -> None:
    make_user()
    caplog.set_level("INFO", "warmer.apps")
    run("popular_posts", "user_profiles", "--inline", verbosity=2)
    assert [cost in caplog.text for cost in (" 1 query, ", " 2 queries, ", " 1 queries")] == [True, True, False]


def test_inline__shows_its_progress_on_a_terminal(make_user: Any) -> None:
    make_user()
    assert "\x1b[Kuser_profiles: 1 key" in run("user_profiles", "--inline", output=Terminal).out
    assert "\r" not in run("user_profiles", "--inline").out


def test_only_missing__skips_cached_keys(make_user: Any) -> None:
    user = make_user()
    make_user()
    cache.set(f"user:{user.pk}:profile", "cached")
    run("user_profiles", "--inline", "--only-missing")
    assert cache.get(f"user:{user.pk}:profile") == "cached"
    kept = WarmingRun.objects.get()
    assert (kept.written, kept.skipped, kept.only_missing) == (1, 1, True)


def test_joined__waits_for_the_run_under_way() -> None:
    other = runs.open_run("popular_posts", Trigger.SCHEDULE).run
    runs.start(other.pk)
    done = run("popular_posts", "--inline", "--timeout", "0.5")
    assert (done.status, "Unfinished runs continue" in done.error) == (3, True)
    assert f"popular_posts: joined run {other.pk} (schedule)" in done.out
    runs.fail(other, "over")
    assert run("popular_posts", "--inline").status == 0


def test_interrupted__run_has_ended_all_the_same() -> None:
    def loader() -> Any:
        raise KeyboardInterrupt

    warm("x", name="x")(loader)
    with pytest.raises(KeyboardInterrupt):
        run("x", "--inline")
    kept = WarmingRun.objects.get()
    assert (kept.state, kept.error) == (State.FAILED, "It was interrupted.")


def test_joined__run_that_nobody_started_is_executed_here() -> None:
    other = runs.open_run("popular_posts", Trigger.SCHEDULE).run
    out = run("popular_posts", "--inline").out
    other.refresh_from_db()
    assert (other.state, other.trigger) == (State.COMPLETE, "schedule")
    assert out.count("popular_posts: complete") == 1
