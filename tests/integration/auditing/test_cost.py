"""What an audit costs: queries, round trips and memory."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from redis import Redis

from tests.integration.auditing.things import counts, declare
from users.models import CustomUser
from warmer import warm_many
from warmer.monitoring.audit.audits import audit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_cost__queries_are_batches_and_one_for_the_ids(make_user: Any) -> None:
    for _ in range(10):
        make_user()

    @warm_many("name:{id}", ids=lambda: list(CustomUser.objects.values_list("id", flat=True)), batch_size=4)
    def names(ids: Sequence[int]) -> Mapping[int, str]:
        return dict(CustomUser.objects.filter(id__in=ids).values_list("id", "username"))

    names.warm()
    for options in ({}, {"sample": 10}):
        with CaptureQueriesContext(connection) as queries:
            found = audit(names.spec, **options)
        assert (found.right, found.queries, len(queries)) == (10, 4, 4)


def test_cost__round_trips_are_three_a_batch(source: Any, redis_client: Redis) -> None:
    job = declare(source, batch_size=5)
    job.warm()

    def calls() -> dict[str, int]:
        stats: Any = redis_client.info("commandstats")
        return {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}

    audit(job.spec)  # the scripts are known to the server from here on
    before = calls()
    audit(job.spec, sample=10)
    after = calls()
    spent = {name: after[name] - before.get(name, 0) for name in after}
    assert (spent["evalsha"], spent["mget"]) == (2 * 2, 2)


def test_cost__memory_is_that_of_a_batch(settings: Any) -> None:
    # What counts its instances is no plain data; JSON takes it all the same.
    with_json = deepcopy(settings.CACHES)
    with_json["default"]["OPTIONS"]["SERIALIZER"] = "django_redis.serializers.json.JSONSerializer"
    settings.CACHES = with_json
    alive = most = 0

    class Id(int):
        def __new__(cls, number: int) -> Id:
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            return super().__new__(cls, number)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    class Value(dict[str, int]):
        def __init__(self, number: int) -> None:
            nonlocal alive, most
            super().__init__(number=number)
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    job = warm_many(
        "thing:{id}", ids=lambda: (Id(number) for number in range(100_000)), name="things", batch_size=1000
    )(lambda ids: {id: Value(id) for id in ids})
    job.warm()
    gc.collect()
    alive = most = 0
    found = audit(job.spec)
    assert (counts(found), found.undeclared) == ({"right": 100_000}, 0)
    # Ids and values of a batch, and those of the one before until they are replaced.
    assert most <= 4 * 1000 + 10
    most = 0
    found = audit(job.spec, sample=500)
    assert (counts(found), most <= 3 * 500 + 10) == ({"right": 500}, True)


def test_cost__names_are_bounded_and_counts_are_not(source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmer.report.MAX_FAILURES", 3)
    monkeypatch.setattr("warmer.monitoring.audit.audits.MAX_FAILURES", 3)
    job = declare(source)
    job.warm()
    source.update(dict.fromkeys(range(10), "another"))
    found = audit(job.spec)
    assert (found.wrong, len(found.wrong_keys)) == (10, 3)
