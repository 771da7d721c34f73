"""Batches: a job's ids as a stream, with what cannot be an id set aside."""

import itertools
import tracemalloc
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from tests.support.jobs import make_spec
from users.models import CustomUser
from warmer.filling import batches as batching
from warmer.filling.batches import Batches, read_out


def ids_of(*arguments: Any, **options: Any) -> list[list[Any]]:
    return [list(batch.values()) for batch in Batches(make_spec(**options), *arguments)]


def test_batches__of_given_ids_do_not_ask_for_the_declared() -> None:
    def declared() -> list[int]:
        raise AssertionError("not asked for")

    assert ids_of([7, 8], ids=declared) == [[7, 8]]
    assert ids_of([], ids=declared) == []


@given(count=st.integers(0, 30), size=st.integers(1, 12))
def test_batches__hold_every_id_once_in_order(count: int, size: int) -> None:
    batches = ids_of(ids=lambda: range(count), batch_size=size)
    assert list(itertools.chain(*batches)) == list(range(count))
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(0 < len(batch) <= size for batch in batches)


def test_batches__find_ids_only_as_they_are_needed() -> None:
    endless = itertools.count(1)
    batches = Batches(make_spec(ids=lambda: endless, batch_size=10))
    assert list(next(batches).values()) == list(range(1, 11))
    assert next(endless) == 11


def test_batches__set_aside_what_cannot_be_an_id() -> None:
    batches = Batches(make_spec(ids=lambda: [1, "two words", 3, None, 4, "x" * 100_000], batch_size=2))
    assert [list(batch.values()) for batch in batches] == [[1, 3], [4]]
    report = batches.report
    assert (report.failed, report.keys, report.batches) == (3, 3, 0)
    assert ["two words" in failure.key for failure in report.failures] == [True, False, False]
    assert all(len(failure.key) < 500 for failure in report.failures)


@pytest.mark.django_db
def test_batches__error_of_the_declared_ids_is_raised_and_its_query_counted() -> None:
    def broken() -> Iterator[int]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        yield 1
        raise RuntimeError("no connection")

    batches = Batches(make_spec(ids=broken, batch_size=1))
    assert batches.report.queries == 0
    with pytest.raises(RuntimeError, match="no connection"):
        list(batches)
    assert batches.report.queries == 1


@pytest.mark.django_db
@pytest.mark.parametrize("declared", ["queryset of rows", "queryset of ids", "function", "generator"])
def test_batches__of_a_queryset_or_what_reads_one(declared: str) -> None:
    users = [CustomUser.objects.create(username=f"u{n}", email=f"u{n}@example.org").pk for n in range(7)]
    rows = CustomUser.objects.order_by("id")

    def generator() -> Iterator[int]:
        yield from rows.values_list("id", flat=True).iterator()

    ids: Any = {
        "queryset of rows": rows,
        "queryset of ids": rows.values_list("id", flat=True),
        "function": lambda: rows,
        "generator": generator,
    }[declared]
    assert ids_of(ids=ids, batch_size=3) == [users[:3], users[3:6], users[6:]]
    CustomUser.objects.filter(pk=users[0]).delete()
    assert ids_of(ids=ids, batch_size=3)[0] == users[1:4], "a run asks anew"


@pytest.mark.django_db(transaction=True)
def test_batches__of_a_queryset_leave_no_cursor_on_its_connection() -> None:
    for number in range(3):
        CustomUser.objects.create(username=f"u{number}", email=f"u{number}@example.org")
    with patch.object(batching, "IDS_AT_ONCE", 1):
        batches = Batches(make_spec(ids=CustomUser.objects.all, batch_size=1))
        next(batches)
    connection.close()  # as a pooler may, outside of a transaction
    assert len(list(batches)) == 2
    assert batches.report.queries == 1


@given(st.lists(st.integers() | st.text(max_size=3) | st.uuids() | st.booleans()), st.integers(1, 5))
def test_read_out__gives_all_in_order(ids: list[Any], at_once: int) -> None:
    with patch.object(batching, "READ_AT_ONCE", at_once):
        found = list(read_out(iter(ids)))
    assert found == ids
    assert [type(each) for each in found] == [type(each) for each in ids]


@pytest.mark.parametrize(
    ("ids", "most_bytes"),
    [(range(10**9, 10**9 + 50_000), 9), ([UUID(int=2**100 + number) for number in range(50_000)], 17)],
    ids=["integers", "UUIDs"],
)
def test_read_out__keeps_few_bytes_for_each(ids: Any, most_bytes: int) -> None:
    tracemalloc.start()
    try:
        found = read_out(iter(ids))
        kept, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept / 50_000 < most_bytes
    assert list(found) == list(ids)
