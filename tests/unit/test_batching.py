"""Batches: a job's ids as a stream, with what cannot be an id set aside."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from tests.jobs import make_spec
from users.models import CustomUser
from warmer.filling import batches as batching
from warmer.filling.batches import Batches, read_out
from warmer.keys import Batch
from warmer.report import Failure, Report


def ids_of(batches: Iterable[Batch]) -> list[list[Any]]:
    return [list(batch.values()) for batch in batches]


def test_batches__of_a_single_job_are_its_key() -> None:
    batches = Batches(make_spec("thing"))

    assert list(batches) == [{"thing": None}]
    assert batches.report == Report(job="things")


def test_batches__of_the_declared_ids() -> None:
    batches = Batches(make_spec(ids=lambda: ["a", "b", "c"], batch_size=2))

    assert list(batches) == [{"thing:a": "a", "thing:b": "b"}, {"thing:c": "c"}]


def test_batches__of_given_ids_instead() -> None:
    def declared() -> list[int]:
        raise AssertionError("not asked for")

    assert ids_of(Batches(make_spec(ids=declared), [7, 8])) == [[7, 8]]
    assert list(Batches(make_spec(ids=declared), [])) == []


def test_batches__of_no_ids() -> None:
    assert list(Batches(make_spec(ids=list))) == []


@given(count=st.integers(0, 30), size=st.integers(1, 12))
def test_batches__hold_every_id_once_in_order(count: int, size: int) -> None:
    batches = ids_of(Batches(make_spec(ids=lambda: range(count), batch_size=size)))

    assert list(itertools.chain(*batches)) == list(range(count))
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(0 < len(batch) <= size for batch in batches)


def test_batches__find_ids_only_as_they_are_needed() -> None:
    found = 0

    def endless() -> Iterator[int]:
        nonlocal found
        while True:
            found += 1
            yield found

    batches = Batches(make_spec(ids=endless, batch_size=10))
    assert found == 0

    assert list(next(batches).values()) == list(range(1, 11))
    assert found == 10


def test_batches__set_aside_what_cannot_be_an_id() -> None:
    batches = Batches(make_spec(ids=lambda: [1, "two words", 3, None, 4], batch_size=2))

    assert ids_of(batches) == [[1, 3], [4]]
    assert batches.report == Report(
        job="things",
        failed=2,
        batches=0,
        failures=(
            Failure(
                key="thing:{id} with the id 'two words'",
                error="InvalidId: 'two words' cannot be an id of thing:{id}: it may not be empty or hold "
                "blanks, control characters, ':', '{' or '}'",
            ),
            Failure(
                key="thing:{id} with the id None",
                error="InvalidId: None cannot be an id of thing:{id}: expected an int, a str or a UUID",
            ),
        ),
    )


def test_batches__of_nothing_but_what_cannot_be_an_id() -> None:
    batches = Batches(make_spec(ids=lambda: [None, ""]))

    assert list(batches) == []
    assert (batches.report.failed, batches.report.keys) == (2, 2)


def test_batches__id_that_is_far_too_long_is_cut_in_the_report() -> None:
    batches = Batches(make_spec(ids=lambda: ["x" * 100_000]))

    assert list(batches) == []
    assert len(batches.report.failures[0].key) < 500


def test_batches__error_of_the_declared_ids() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise RuntimeError("no connection")

    batches = Batches(make_spec(ids=broken, batch_size=1))

    assert next(batches) == {"thing:1": 1}
    with pytest.raises(RuntimeError, match="no connection"):
        next(batches)


@pytest.mark.django_db
def test_report__counts_the_query_for_the_ids() -> None:
    ids = CustomUser.objects.values_list("id", flat=True)
    batches = Batches(make_spec(ids=lambda: ids.order_by("id"), batch_size=1))
    CustomUser.objects.create(username="ada", email="ada@example.org")
    CustomUser.objects.create(username="bob", email="bob@example.org")
    assert batches.report.queries == 0

    assert len(list(batches)) == 2
    assert batches.report == Report(job="things", queries=1)


@pytest.mark.django_db
def test_report__counts_a_query_that_fails() -> None:
    def broken() -> Iterator[Any]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        raise RuntimeError("after the query")

    batches = Batches(make_spec(ids=broken))

    with pytest.raises(RuntimeError, match="after the query"):
        next(batches)
    assert batches.report.queries == 1


@pytest.mark.django_db
@pytest.mark.parametrize("declared", ["queryset of rows", "queryset of ids", "function", "generator"])
def test_batches__of_a_queryset_or_what_reads_one(declared: str) -> None:
    users = [CustomUser.objects.create(username=f"u{n}", email=f"u{n}@example.org") for n in range(7)]
    rows = CustomUser.objects.order_by("id")

    def generator() -> Iterator[int]:
        yield from rows.values_list("id", flat=True).iterator()

    ids: Any = {
        "queryset of rows": rows,
        "queryset of ids": rows.values_list("id", flat=True),
        "function": lambda: rows,
        "generator": generator,
    }[declared]
    spec = make_spec(ids=ids, batch_size=3)
    expected = [[user.pk for user in some] for some in (users[:3], users[3:6], users[6:])]

    assert ids_of(Batches(spec)) == expected
    CustomUser.objects.filter(pk=users[0].pk).delete()
    assert ids_of(Batches(spec))[0] == [user.pk for user in users[1:4]], "a run asks anew"


@given(st.lists(st.integers() | st.text(max_size=3) | st.uuids() | st.booleans()), st.integers(1, 5))
def test_read_out__gives_all_in_order(ids: list[Any], at_once: int) -> None:
    with patch.object(batching, "READ_AT_ONCE", at_once):
        found = list(read_out(iter(ids)))

    assert found == ids
    assert [type(each) for each in found] == [type(each) for each in ids]
