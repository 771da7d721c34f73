"""`manage.py warm_cache` in this process: what it prints, and its exit status. On workers: tests/system."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import transaction

from embedded.redis_server import RedisServer
from warmer import jobs, runs, warm, warm_many
from warmer.models import State, Trigger, WarmingRun

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def run(*args: str) -> str:
    out = io.StringIO()
    call_command("warm_cache", *args, stdout=out, stderr=out)
    return out.getvalue()


def failing(*args: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        run(*args)
    return caught.value


def test_all__warms_every_job_for_the_deploy(make_user: Any, make_post: Any) -> None:
    user = make_user()
    post = make_post(author=user)
    out = run()
    assert cache.get(f"user:{user.pk}:profile")["username"] == user.username
    assert cache.get("popular_posts")[0]["id"] == cache.get(f"post:{post.pk}")["id"] == post.pk
    assert {each.trigger for each in WarmingRun.objects.all()} == {"deploy"}
    assert "Warming in this process: no broker is configured" in out
    assert "user_profiles: complete, 1 key in" in out


def test_table__counts_equal_the_ledger(make_user: Any) -> None:
    for _ in range(3):
        make_user()
    lines = run("user_profiles", "--inline").splitlines()
    header, row = lines[-3].split(), lines[-1].split()
    shown = dict(zip(header, row, strict=True))
    kept = WarmingRun.objects.get()
    assert shown["job"] == kept.job
    assert {name: int(shown[name]) for name in ("run", "written", "failed", "queries")} == {
        "run": kept.pk,
        "written": 3,
        "failed": 0,
        "queries": 2,
    }


def test_named__is_a_command(make_user: Any) -> None:
    run("popular_posts", "--inline")
    assert [(each.job, each.trigger) for each in WarmingRun.objects.all()] == [("popular_posts", "command")]


def test_required__come_first() -> None:
    order = []
    warm("zz", name="zz", required=False)(lambda: order.append("optional") or 1)
    warm("yy", name="yy")(lambda: order.append("required") or 1)
    run("zz", "yy", "--inline")
    assert order == ["required", "optional"]


def test_json__is_all_that_is_printed(make_user: Any) -> None:
    make_user()
    printed = json.loads(run("user_profiles", "--inline", "--json"))
    assert printed["status"] == 0
    (job,) = printed["jobs"]
    assert (job["job"], job["state"], job["written"], job["failures"]) == ("user_profiles", "complete", 1, [])


def test_status__unknown_job_is_2_and_names_the_nearest() -> None:
    error = failing("user_profile")
    assert error.returncode == 2
    assert "Did you mean user_profiles?" in str(error)
    assert not WarmingRun.objects.exists()


@pytest.mark.parametrize(
    "args",
    [("--inline", "--no-wait"), ("--inline", "--workers"), ("--timeout", "0"), ("--timeout", "soon")],
)
def test_status__usage_is_2_or_refused_by_the_parser(args: tuple[str, ...]) -> None:
    assert failing(*args).returncode in (1, 2)
    assert not WarmingRun.objects.exists()


def test_status__failed_key_of_a_required_job_is_1() -> None:
    def loader(ids: Any) -> Any:
        if 2 in ids:
            raise ValueError("row 2 is broken")
        return {id: id for id in ids}

    warm_many("x:{id}", ids=lambda: range(4), name="x")(loader)
    out = io.StringIO()
    with pytest.raises(CommandError, match="Not complete, though required: x") as caught:
        call_command("warm_cache", "x", "--inline", stdout=out, stderr=out)
    assert caught.value.returncode == 1
    assert "x:2: ValueError: row 2 is broken" in out.getvalue()
    assert "incomplete" in out.getvalue()


def test_status__failed_job_that_is_not_required_is_0() -> None:
    def loader() -> Any:
        raise ValueError("broken")

    warm("x", name="x", required=False)(loader)
    assert "x: failed" in run("x", "--inline")


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_status__cache_that_keeps_nothing_is_1(settings: Any, flags: tuple[str, ...]) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    warm_many("x:{id}", ids=lambda: range(3), name="x")(lambda ids: {id: id for id in ids})
    warm("y", name="y")(lambda: 1)
    warm("z", name="z", required=False)(lambda: 1)
    error = failing("x", "y", "z", "--inline", *flags)
    assert error.returncode == 1
    assert str(error) == (
        "Not complete, though required: x, y. Nothing could be stored of x, y, z: the cache 'default' "
        "(django.core.cache.backends.dummy.DummyCache) keeps nothing; use a Redis cache."
    )


def test_status__every_key_overtaken_by_changes_is_0_and_said() -> None:
    def loader(ids: Any) -> Any:
        job.invalidate()
        return {id: id for id in ids}

    job: Any = warm_many("x:{id}", ids=lambda: range(3), name="x")(loader)
    assert "Nothing could be stored of x: changes overtook every try" in run("x", "--inline")
    assert WarmingRun.objects.get().superseded == 3


def test_status__some_fenced_keys_are_0() -> None:
    def loader(ids: Any) -> Any:
        job.invalidate([1])
        return {id: id for id in ids}

    job: Any = warm_many("x:{id}", ids=lambda: range(3), name="x")(loader)
    run("x", "--inline")
    kept = WarmingRun.objects.get()
    assert (kept.written, kept.superseded) == (2, 1)


def test_status__every_key_fenced_by_the_transaction_around_is_0(make_user: Any) -> None:
    with transaction.atomic():  # as a TestCase is
        make_user()
        assert "user_profiles: complete" in run("user_profiles", "--inline")
        assert WarmingRun.objects.get().superseded == 1


def test_status__job_without_a_key_to_warm_is_0() -> None:
    warm_many("x:{id}", ids=list, name="x")(dict)
    assert "x: complete, 0 keys" in run("x", "--inline")


def test_status__out_of_time_is_3() -> None:
    error = failing("--inline", "--timeout", "0.000001")
    assert error.returncode == 3
    assert str(error) == ("Out of time. What was not begun by then is as it was: give it a longer --timeout.")
    assert not WarmingRun.objects.filter(active_job__isnull=False).exists()


def test_status__cache_down_is_1_with_one_clear_line(redis_server: RedisServer) -> None:
    redis_server.stop()
    error = failing("--inline")
    assert error.returncode == 1
    assert str(error).count("\n") == 0
    assert "The cache 'default' at 127.0.0.1" in str(error)
    assert str(error).endswith("Nothing was warmed.")
    assert not WarmingRun.objects.exists()


@pytest.mark.parametrize("flag", ["--workers", "--no-wait"])
def test_status__no_worker_though_asked_for_is_1(flag: str) -> None:
    error = failing(flag)
    assert error.returncode == 1
    assert "Nothing was warmed. Name a broker in CELERY_BROKER_URL" in str(error)
    assert not WarmingRun.objects.exists()


def test_list__names_the_jobs_and_their_last_runs(make_user: Any) -> None:
    run("user_profiles", "--inline")
    rows = {row["job"]: row for row in json.loads(run("--list", "--json"))}
    assert set(rows) == set(jobs)
    assert rows["user_profiles"]["key"] == "user:{id}:profile"
    assert rows["user_profiles"]["last_run"]["state"] == "complete"
    assert rows["posts"]["last_run"] is None
    lines = {line.split()[0]: line.split() for line in run("--list").splitlines()}
    assert lines["user_profiles"] == [
        *("user_profiles", "user:{id}:profile", "yes", "0:15:00", "1:00:00"),
        *("default", "warming", "complete"),
    ]
    assert lines["posts"][-1] == "never"


def test_list__json_is_for_scripts(make_user: Any) -> None:
    warm("x", name="x", every=None, required=False)(lambda: 1)
    run("user_profiles", "--inline")
    rows = {row["job"]: row for row in json.loads(run("--list", "--json"))}
    kept = WarmingRun.objects.get()
    assert kept.started_at
    assert kept.finished_at
    assert rows["x"] == {
        "job": "x",
        "key": "x",
        "required": False,
        "every_seconds": None,
        "timeout_seconds": 3600.0,
        "cache": "default",
        "queue": "warming",
        "last_run": None,
    }
    assert (rows["user_profiles"]["required"], rows["user_profiles"]["every_seconds"]) == (True, 900.0)
    assert rows["user_profiles"]["last_run"] == {
        "run": kept.pk,
        "state": "complete",
        "trigger": "command",
        "requested_at": kept.requested_at.isoformat(),
        "started_at": kept.started_at.isoformat(),
        "finished_at": kept.finished_at.isoformat(),
        "seconds": (kept.finished_at - kept.started_at).total_seconds(),
    }


def test_dry_run__says_what_it_would_do_and_writes_nothing(make_user: Any) -> None:
    for _ in range(3):
        make_user()
    row = {row["job"]: row for row in json.loads(run("--dry-run", "--json"))}["user_profiles"]
    plan = {"job": "user_profiles", "keys": 3, "batches": 1, "failed": 0, "queries": 2, "seconds": None}
    assert row == plan | {"failures": []}
    assert not WarmingRun.objects.exists()
    assert cache.get("user:1:profile") is None
    run("user_profiles", "--inline")
    again = {row["job"]: row for row in json.loads(run("--dry-run", "--json"))}["user_profiles"]
    assert again["seconds"] > 0
    run("popular_posts", "--inline")  # a job with one key has no query for ids
    single = {row["job"]: row for row in json.loads(run("--dry-run", "--json"))}["popular_posts"]
    assert single["queries"] == WarmingRun.objects.get(job="popular_posts").queries == 1
    assert "Nothing was written" in run("--dry-run")


def broken_ids() -> Any:
    yield 1
    raise RuntimeError("the list of ids is broken")


@pytest.mark.parametrize(
    ("ids", "why"),
    [(broken_ids, "RuntimeError: the list of ids is broken"), (lambda: 7, "TypeError: 'int' object is not")],
)
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_dry_run__ids_that_cannot_be_found_are_one_clear_line(
    ids: Any, why: str, flags: tuple[str, ...]
) -> None:
    warm_many("x:{id}", ids=ids, name="x")(dict)
    error = failing("x", "--dry-run", *flags)
    assert error.returncode == 1
    assert str(error).startswith(f"The ids of x could not be found: {why}")
    assert str(error).count("\n") == 0


def test_dry_run__says_which_ids_would_fail() -> None:
    warm_many("x:{id}", ids=lambda: [1, "a b", None, 1.5, 2], name="x")(lambda ids: {id: id for id in ids})
    (row,) = json.loads(run("x", "--dry-run", "--json"))
    assert (row["keys"], row["failed"], len(row["failures"])) == (2, 3, 3)
    assert row["failures"][0]["key"] == "x:{id} with the id 'a b'"
    text = run("x", "--dry-run")
    assert "x:{id} with the id 1.5: InvalidId: 1.5 cannot be an id" in text
    with pytest.raises(CommandError):
        run("x", "--inline")
    assert WarmingRun.objects.get().failed == row["failed"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("output", "verbosity"), [(Terminal, 1), (Terminal, 2), (io.StringIO, 1)])
def test_inline__ids_that_cannot_be_found_are_a_line_on_a_terminal(
    output: type[io.StringIO], verbosity: int, caplog: pytest.LogCaptureFixture
) -> None:
    warm_many("x:{id}", ids=broken_ids, name="x")(dict)
    with pytest.raises(CommandError) as caught:
        call_command("warm_cache", "x", "--inline", stdout=output(), stderr=output(), verbosity=verbosity)
    assert caught.value.returncode == 1
    (record,) = [each for each in caplog.records if each.name == "warmer.runs.execution"]
    assert "The ids could not be found: RuntimeError: the list of ids is broken" in record.getMessage()
    assert (record.exc_info is None) is (output is Terminal and verbosity == 1)


def test_only_missing__leaves_cached_keys_alone(make_user: Any) -> None:
    user = make_user()
    make_user()
    cache.set(f"user:{user.pk}:profile", "cached")
    run("user_profiles", "--inline", "--only-missing")
    assert cache.get(f"user:{user.pk}:profile") == "cached"
    kept = WarmingRun.objects.get()
    assert (kept.written, kept.skipped, kept.only_missing) == (1, 1, True)


def test_joined__run_that_nobody_began_is_executed_here() -> None:
    other = runs.open_run("popular_posts", Trigger.SCHEDULE).run
    out = run("popular_posts", "--inline")
    other.refresh_from_db()
    assert (other.state, other.trigger) == (State.COMPLETE, "schedule")
    assert out.count("popular_posts: complete") == 1


def test_joined__waits_for_the_run_under_way_and_says_so() -> None:
    other = runs.open_run("popular_posts", Trigger.SCHEDULE).run
    runs.start(other.pk)
    error_or_text = failing("popular_posts", "--inline", "--timeout", "0.5")
    assert error_or_text.returncode == 3
    assert "Runs that have not ended go on elsewhere" in str(error_or_text)
    other.refresh_from_db()
    assert other.state == State.RUNNING
    runs.fail(other, "over")
    assert failing_or_ok("popular_posts") == 0


def failing_or_ok(*args: str) -> int:
    try:
        run(*args, "--inline")
    except CommandError as error:
        return error.returncode
    return 0


def test_interrupted__run_has_ended_all_the_same() -> None:
    def loader() -> Any:
        raise KeyboardInterrupt

    warm("x", name="x")(loader)
    with pytest.raises(KeyboardInterrupt):
        run("x", "--inline")
    kept = WarmingRun.objects.get()
    assert (kept.state, kept.error) == (State.FAILED, "It was interrupted.")
