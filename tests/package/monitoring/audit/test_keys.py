"""Which keys are looked at: a sample of the declared ids, and what was read beyond them."""

import gc
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any
from uuid import UUID

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from redis import Redis

from tests.package.monitoring.audit.conftest import counts, declare, wrong_fields
from tests.support.commands import execute
from users.models import CustomUser
from warmer import warm_many
from warmer.models import CacheAudit
from warmer.monitoring.audit import audit
from warmer.testing import at

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.mark.parametrize(
    ("size", "right", "whole", "share"),
    [(6, 6, False, "at least 50 %"), (10, 10, True, "100 %"), (11, 10, True, "100 %")],
)
def test_sample__looks_at_so_many_declared_ids(job: Any, size: int, right: int, whole: bool, share: str) -> None:
    job.warm()
    found = audit(job.spec, sample=size)
    assert (counts(found), found.whole, found.share) == ({"right": right}, whole, share)


def test_sample__same_seed_looks_at_the_same(any_cache: str) -> None:
    loaded: list[int] = []

    def loader(ids: Sequence[int]) -> Mapping[int, int]:
        loaded.extend(ids)
        return dict.fromkeys(ids, 1)

    job = warm_many("thing:{id}", ids=lambda: range(1000), name="things")(loader)

    def draw(seed: int) -> list[int]:
        loaded.clear()
        audit(job.spec, sample=20, seed=seed)
        return list(loaded)

    assert draw(1) == draw(1) != draw(2)
    assert len(set(draw(3))) == 20


@pytest.mark.parametrize("any_cache", ["locmem"], indirect=True)
def test_sample__every_id_is_as_likely(any_cache: str) -> None:
    drawn: Counter[int] = Counter()
    job = warm_many("thing:{id}", ids=lambda: range(20), name="things")(
        lambda ids: drawn.update(ids) or dict.fromkeys(ids, 1)  # type: ignore[func-returns-value]
    )
    for seed in range(1000):
        audit(job.spec, sample=5, seed=seed)
    # 250 are expected of each; the standard deviation is 13.7.
    assert all(180 < drawn[id] < 320 for id in range(20))


@pytest.mark.parametrize(
    ("right", "wrong", "whole", "share"),
    [
        (1000, 0, False, "at least 99.7 %"),
        (999, 1, False, "99.9 %"),
        (3, 0, False, "too few to tell"),
        (1000, 0, True, "100 %"),
        (999, 1, True, "99.9 %"),
        (0, 5, True, "0 %"),
        (0, 0, False, "nothing judged"),
        (1_000_000, 0, False, "at least 99.9 %"),
        (0, 1, False, "0 %"),
    ],
)
def test_share__is_the_limit_of_a_sample_that_is_right(right: int, wrong: int, whole: bool, share: str) -> None:
    assert CacheAudit(job="x", right=right, wrong=wrong, whole=whole).share == share


NUMBERS = dict.fromkeys([1, 2, 3, 40, 50], "value")


@pytest.mark.parametrize("as_id", [int, str, lambda number: UUID(int=number)])
def test_read_through__keys_beyond_the_declared_ids_are_audited(as_id: Callable[[int], Any]) -> None:
    source = {as_id(number): value for number, value in NUMBERS.items()}
    job = declare(source, ids=lambda: [as_id(number) for number in (1, 2, 3)])
    job.warm()
    job.get_many([as_id(40), as_id(50)])
    source[as_id(50)] = "another"
    found = audit(job.spec)
    assert counts(found) == {"right": 4, "wrong": 1}
    assert wrong_fields(found) == {job.key(as_id(50)): ("str",)}
    assert (found.undeclared, found.note) == (2, "")


@pytest.mark.parametrize(
    ("key", "others"),
    [
        ("thing:{id}", ["thing:one", "thing:a:b", "thing:01", "thing:+2", "thing:٣", "thing:", "thing:8 ", "things:8"]),
        ("[ab]?:{id}*", ["ax:3*", "[ab]?:4x"]),  # which is no pattern
    ],
)
def test_read_through__keys_of_others_are_left_alone(key: str, others: list[str]) -> None:
    job = warm_many(key, ids=lambda: [1], name="things")(lambda ids: dict.fromkeys(ids, "value"))
    job.get_many([1, 2])
    for other in others:
        cache.set(other, "of another")
    cache.set(job.key(40), "value", version=7)
    found = audit(job.spec, repair=True)
    assert (counts(found), found.undeclared) == ({"right": 2}, 1)
    assert all(cache.get(other) == "of another" for other in others)


def test_read_through__gone_meanwhile_is_not_missing() -> None:
    job = declare(dict(NUMBERS), ids=lambda: [1])
    job.get_many([1, 40, 50])
    # Before the batch of declared ids nothing; before that of the others, which were listed by then:
    steps = iter([lambda: None, lambda: cache.delete("thing:40")])
    with at("token_taken", lambda: next(steps)(), times=2):
        found = audit(job.spec)
    assert (counts(found), found.undeclared) == ({"right": 2}, 1)


@pytest.mark.parametrize(("ids", "why"), [([], "there are none"), ([1, "a"], "they are not all int")])
def test_read_through__ids_of_unknown_type_are_not_looked_at_and_it_says_so(ids: list[Any], why: str) -> None:
    source = {1: "one", "a": "A", 40: "old"}
    job = declare(source, ids=lambda: ids)
    job.get_many([1, "a", 40])
    source[40] = "new"
    found = audit(job.spec)
    assert (found.sampled, found.wrong, found.undeclared) == (len(ids), 0, 0)
    assert f"Only the declared ids were compared: {why}" in found.note
    assert "Only the declared ids were compared" in execute("cache_audit", "things").out


@pytest.mark.parametrize("any_cache", ["locmem"], indirect=True)
def test_read_through__of_a_cache_that_cannot_list_its_keys(source: Any, any_cache: str) -> None:
    job = declare(source, ids=lambda: [1])
    job.get_many([1, 2])
    found = audit(job.spec)
    assert found.sampled == 1
    assert "this cache cannot list its keys" in found.note


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

    audit(job.spec)  # the scripts are known to the server from here on
    redis_client.config_resetstat()
    audit(job.spec, sample=10)
    stats: Any = redis_client.info("commandstats")
    assert [stats[f"cmdstat_{name}"]["calls"] for name in ("evalsha", "mget")] == [2 * 2, 2]


def test_cost__memory_is_that_of_a_batch(settings: Any) -> None:
    # What counts its instances is no plain data; JSON takes it all the same.
    with_json = deepcopy(settings.CACHES)
    with_json["default"]["OPTIONS"]["SERIALIZER"] = "django_redis.serializers.json.JSONSerializer"
    settings.CACHES = with_json
    alive = most = 0

    class Alive:
        def __init__(self, *_args: int, **fields: int) -> None:
            nonlocal alive, most
            super().__init__(**fields)
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    class Id(Alive, int): ...

    class Value(Alive, dict[str, int]): ...

    job = warm_many("thing:{id}", ids=lambda: (Id(number) for number in range(10_000)), name="things", batch_size=1000)(
        lambda ids: {id: Value(number=id) for id in ids}
    )
    job.warm()
    gc.collect()
    alive = most = 0
    found = audit(job.spec)
    assert (counts(found), found.undeclared) == ({"right": 10_000}, 0)
    # Ids and values of a batch, and those of the one before until they are replaced.
    assert most <= 4 * 1000 + 10
    most = 0
    found = audit(job.spec, sample=500)
    assert (counts(found), most <= 3 * 500 + 10) == ({"right": 500}, True)
