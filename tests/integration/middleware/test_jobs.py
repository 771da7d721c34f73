"""What the reads and the runs of jobs are counted as."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.cache import cache

from tests.integration.middleware.counting import counted
from warmer import warm, warm_many

pytestmark = pytest.mark.usefixtures("own_jobs")


@pytest.mark.django_db(transaction=True)
def test_job__read_is_one_call(any_cache: str) -> None:
    things = warm_many("thing:{id}", name="things", ids=list)(lambda ids: {id: {"id": id} for id in ids})
    things.warm([1, 2, 3])
    assert counted(lambda: things.get(1)) == "1 call, 1 hit, 0 misses"
    assert counted(lambda: things.get_many([1, 2, 3])) == "1 call, 3 hits, 0 misses"


@pytest.mark.django_db(transaction=True)
def test_job__warm_is_a_token_and_a_write_a_batch() -> None:
    things = warm_many("thing:{id}", name="things", ids=lambda: range(10), batch_size=5)(
        lambda ids: {id: {"id": id} for id in ids}
    )
    things.warm()  # so that the server knows the scripts
    assert counted(things.warm) == "4 calls, 0 hits, 0 misses"


@pytest.mark.django_db(transaction=True)
def test_job__miss_is_one_miss_whatever_the_fence_needs(any_cache: str) -> None:
    thing = warm("thing", name="thing")(lambda: "value")
    found = counted(thing.get)
    assert found.endswith("0 hits, 1 miss")
    if any_cache == "redis":
        assert found.startswith("3 calls, ")  # look, claim, write
    assert counted(thing.get) == "1 call, 1 hit, 0 misses"


@pytest.mark.django_db(transaction=True)
def test_job__absence_that_is_cached_is_a_hit(any_cache: str) -> None:
    none = warm("none", name="none", negative_timeout=timedelta(minutes=1))(lambda: None)
    assert counted(none.get).endswith("0 hits, 1 miss")
    assert counted(none.get) == "1 call, 1 hit, 0 misses"


@pytest.mark.django_db(transaction=True)
def test_job__what_its_loader_looks_for_is_counted(any_cache: str) -> None:
    thing = warm("thing", name="thing")(lambda: cache.get("part", "nothing"))
    assert counted(thing.get).endswith("0 hits, 2 misses")
