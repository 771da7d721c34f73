"""One run in this process: what becomes of every key, and what it costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from redis import Redis

from myapp.models import Post
from tests.package.filling.support import Calls, declare, loader_of, squares
from users.models import CustomUser
from warmer import warm, warm_many
from warmer.filling import pipeline
from warmer.filling.loading import QueryCount
from warmer.testing import at

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_warm__writes_every_key_with_its_batches_and_queries(make_user: Any) -> None:
    users = [make_user() for _ in range(10)]

    def ids() -> list[int]:
        return list(CustomUser.objects.values_list("id", flat=True))

    @warm_many("name:{id}", ids=ids, batch_size=4)
    def names(ids: Sequence[int]) -> Mapping[int, str]:
        return dict(CustomUser.objects.filter(id__in=ids).values_list("id", "username"))

    with CaptureQueriesContext(connection) as queries:
        report = names.warm()
    assert (report.written, report.batches, report.queries) == (10, 3, 4)
    assert len(queries) == 4
    assert cache.get_many([f"name:{u.pk}" for u in users]) == {f"name:{u.pk}": u.username for u in users}


def test_warm__without_a_value_is_counted_and_deleted() -> None:
    cache.set_many({"square:3": "old", "nothing": "old"})
    report = declare(lambda ids: {id: None if id == 3 else id for id in ids if id != 4}).warm()
    assert (report.written, report.no_value, report.failed) == (8, 2, 0)
    single = warm("nothing", name="nothing")(lambda: None).warm()
    assert (single.no_value, single.keys, single.batches) == (1, 1, 1)
    assert cache.get_many(["square:3", "nothing"]) == {}


@pytest.mark.parametrize("bad", [{0}, {9}, {3, 4}, {0, 1, 2, 3}, set(range(10))])
def test_warm__bad_rows_cost_their_own_keys_only(bad: set[int]) -> None:
    job = declare(loader_of([], bad=bad))
    cache.set_many({f"square:{id}": "before" for id in bad})
    report = job.warm()
    assert (report.written, report.failed) == (10 - len(bad), len(bad))
    assert {failure.key for failure in report.failures} == {f"square:{id}" for id in bad}
    assert {failure.error for failure in report.failures} == {f"ValueError: row {id} is broken" for id in bad}
    assert all(cache.get(f"square:{id}") == id * id for id in range(10) if id not in bad)


def test_warm__one_bad_row_of_many_is_found_by_halving() -> None:
    calls: Calls = []
    report = declare(loader_of(calls, bad={77}), ids=lambda: range(512), batch_size=512).warm()
    assert (report.written, report.failed) == (511, 1)
    assert len(calls) == 1 + 2 * 9  # 512 = 2**9


def test_warm__database_that_is_away_is_asked_once_a_batch() -> None:
    calls = []

    def loader(ids: Sequence[int]) -> Mapping[int, int]:
        calls.append(ids)
        raise OperationalError("redis://u:pw@h/0 gone")

    report = declare(loader).warm()
    assert (report.failed, len(calls)) == (10, 3)
    assert "pw" not in report.failures[0].error


@pytest.mark.parametrize("returned", [None, [1], "text", 5])
def test_warm__loader_that_returns_no_mapping_fails_every_key(returned: Any) -> None:
    report = declare(lambda ids: returned).warm()
    assert (report.failed, report.batches) == (10, 3)
    assert f"'square' returned {type(returned).__name__}" in report.failures[0].error


def test_warm__what_cannot_be_a_key_or_a_value_costs_itself(redis_client: Redis) -> None:
    job = declare(
        lambda ids: {id: object() if id == 5 else id for id in ids if id != 6},
        ids=lambda: [1, None, 5, "a:b", 6, True, 3],
    )
    report = job.warm()
    assert (report.written, report.no_value, report.failed, report.keys) == (2, 1, 4, 7)
    errors = {failure.key: failure.error for failure in report.failures}
    assert "cannot be encoded" in errors["square:5"]
    assert len(redis_client.keys(":1:square:*")) == report.written


def test_warm__key_invalidated_during_the_load_is_loaded_again() -> None:
    database = dict.fromkeys(range(6), "old")
    calls = []

    def loader(ids: Sequence[int]) -> Mapping[int, str]:
        rows = {id: database[id] for id in ids}
        if not calls:  # a writer commits and invalidates between our read and our write
            database[2] = "new"
            job.invalidate([2])
        calls.append(list(ids))
        return rows

    job: Any = declare(loader, ids=lambda: range(6))
    report = job.warm()
    assert (report.written, report.superseded) == (6, 0)
    assert calls == [[0, 1, 2, 3], [4, 5], [2]]  # the next batch is loaded while the first is written
    assert cache.get("square:2") == "new"


def test_warm__key_invalidated_at_every_load_stays_cold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmer.filling.pipeline.ATTEMPTS", 3)
    calls: Calls = []
    job = declare(loader_of(calls), ids=lambda: range(4))
    with at("loaded", lambda: job.invalidate([2]), times=9):
        report = job.warm()
    assert (report.written, report.superseded, report.ok) == (3, 1, True)
    assert len(calls) == 3
    assert cache.get("square:2") is None


@pytest.mark.parametrize("only_missing", [False, True])
def test_warm__after_uncommitted_changes_stores_nothing(
    make_post: Any, redis_client: Redis, only_missing: bool
) -> None:
    job = declare(depends_on=[Post])
    job.warm()
    with transaction.atomic():
        make_post()
        redis_client.delete(":1:square:1")
        assert job.warm(only_missing=only_missing).superseded == 10
        assert cache.get("square:1") is None
    assert job.warm(only_missing=only_missing).written == 10


class TimeIsUp(Exception):
    """The time limit."""


def test_warm_batches__interrupted_counts_what_is_left_as_failed() -> None:
    done: list[int] = []

    def loader(ids: Sequence[int]) -> Mapping[int, int]:
        if len(ids) > 2:
            raise ValueError("narrow me")
        if done:
            raise TimeIsUp("at last")
        done.extend(ids)
        return squares(ids)

    job = declare(loader)
    batches = [job.spec.key.batch([0, 1, 2, 3])]
    (report,) = pipeline.warm_batches(job.spec, batches, interrupts=(TimeIsUp,))
    assert (report.written, report.failed) == (2, 2)
    assert all("A time limit interrupted the batch (TimeIsUp)" in failure.error for failure in report.failures)


def test_warm_batches__interrupted_with_a_token_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    job = warm("one", name="one")(lambda: loads.append("one") or 1)

    def interrupted(queries: QueryCount, *_details: Any) -> None:
        monkeypatch.undo()  # the limit interrupts once
        queries.close()
        raise TimeIsUp("at last")

    monkeypatch.setattr(QueryCount, "__exit__", interrupted)
    (report,) = pipeline.warm_batches(job.spec, [job.spec.key.batch([])], interrupts=(TimeIsUp,))
    assert (report.failed, loads, cache.get("one")) == (1, [], None)
