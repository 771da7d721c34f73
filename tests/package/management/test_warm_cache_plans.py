"""`manage.py warm_cache --list` and `--dry-run`: what they tell, and that they change nothing."""

import json
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from django.core.cache import cache

from tests.support.commands import execute
from warmer import jobs, warm, warm_many
from warmer.models import WarmingRun

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

run = partial(execute, "warm_cache")


def printed(*args: str) -> Any:
    return json.loads(run(*args, "--json").out)


def test_list__json_is_for_scripts(make_user: Any) -> None:
    warm("x", name="x", every=None, required=False)(lambda: 1)
    run("user_profiles", "--inline")
    rows = {row["job"]: row for row in printed("--list")}
    assert set(rows) == set(jobs)
    kept = WarmingRun.objects.get()
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
    last = rows["user_profiles"]["last_run"]
    assert (last["run"], last["state"], last["trigger"]) == (kept.pk, "complete", "command")
    moments = {name: getattr(kept, name) for name in ("requested_at", "started_at", "finished_at")}
    assert {name: datetime.fromisoformat(last[name]) for name in moments} == moments


def test_dry_run__says_what_it_would_do_and_writes_nothing(make_user: Any) -> None:
    for _ in range(3):
        make_user()
    (row,) = printed("user_profiles", "--dry-run")
    plan = {"job": "user_profiles", "keys": 3, "batches": 1, "failed": 0, "queries": 2, "seconds": None}
    assert row == plan | {"failures": []}
    assert not WarmingRun.objects.exists()
    assert cache.get("user:1:profile") is None
    run("user_profiles", "popular_posts", "--inline")
    again, single = printed("user_profiles", "popular_posts", "--dry-run")
    assert again["seconds"] > 0
    # A job with one key has no query for ids.
    assert single["queries"] == WarmingRun.objects.get(job="popular_posts").queries == 1


@pytest.mark.parametrize("ids", [lambda: (1 // each for each in (1, 0)), lambda: 7])
def test_dry_run__ids_that_cannot_be_found_are_one_clear_line(ids: Any) -> None:
    warm_many("x:{id}", ids=ids, name="x")(dict)
    done = run("x", "--dry-run")
    assert (done.status, done.error.count("\n")) == (1, 0)
    assert done.error.startswith("The ids of x could not be found: ")


def test_dry_run__names_the_ids_that_would_fail() -> None:
    warm_many("x:{id}", ids=lambda: [1, "a b", None, 1.5, 2], name="x")(lambda ids: {id: id for id in ids})
    (row,) = printed("x", "--dry-run")
    assert (row["keys"], row["failed"], len(row["failures"])) == (2, 3, 3)
    assert "x:{id} with the id 1.5: InvalidId: " in run("x", "--dry-run").out
    assert run("x", "--inline").status == 1
    assert WarmingRun.objects.get().failed == row["failed"]
