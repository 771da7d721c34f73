"""Batches of a job's ids, and loading: what a loader returns, by key, and its queries."""

import itertools
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import MagicMock, Mock, patch
from uuid import UUID

import pytest
from django.db import DatabaseError, connection
from hypothesis import given
from hypothesis import strategies as st

from tests.support.jobs import make_spec
from users.models import CustomUser
from warmer.exceptions import InvalidId
from warmer.filling import loading
from warmer.filling.loading import Batches, Loaded, QueryCount, read_out


def ids_of(*arguments: Any, **options: Any) -> list[list[Any]]:
    return [list(batch.values()) for batch in Batches(make_spec(**options), *arguments)]


def test_batches__of_given_ids_do_not_ask_for_the_declared() -> None:
    def declared() -> list[int]:
        raise AssertionError("not asked for")

    assert ids_of([7, 8, 7], ids=declared) == [[7, 8]]
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


@pytest.mark.django_db
def test_batches__find_ids_only_as_they_are_needed_beside_a_sqlite_database(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = iter(range(100))

    def declared() -> Iterator[int]:
        for id in ids:
            CustomUser.objects.exists()
            yield id

    monkeypatch.setattr(connection, "vendor", "postgresql")
    databases = [connection, MagicMock(vendor="sqlite")]
    monkeypatch.setattr(loading, "connections", Mock(all=lambda: databases))
    batches = Batches(make_spec(ids=declared, batch_size=10))
    assert list(next(batches).values()) == list(range(10))
    assert next(ids) == 10


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
    with patch.object(loading, "IDS_AT_ONCE", 1):
        batches = Batches(make_spec(ids=CustomUser.objects.all, batch_size=1))
        next(batches)
    connection.close()  # as a pooler may, outside of a transaction
    assert len(list(batches)) == 2
    assert batches.report.queries == 1


@given(st.lists(st.integers() | st.text(max_size=3) | st.uuids() | st.booleans()), st.integers(1, 5))
def test_read_out__gives_all_in_order(ids: list[Any], at_once: int) -> None:
    with patch.object(loading, "READ_AT_ONCE", at_once):
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


# -- loaders ---------------------------------------------------------------------------------------------
UUID_TEXT = "12345678-1234-5678-1234-567812345678"


def load(loader: Callable[..., Any], ids: Sequence[Any], key: str = "thing:{id}") -> Loaded:
    spec = make_spec(key, loader=loader)
    return loading.load(spec, spec.key.batch(ids))


@pytest.mark.parametrize("value", ["thing", 0, "", [], False, {"a": 1}])
def test_load__any_value_but_none_is_a_value(value: Any) -> None:
    assert load(lambda: value, [], "thing") == Loaded(values={"thing": value}, absent=())
    assert load(lambda ids: {1: value}, [1]) == Loaded(values={"thing:1": value}, absent=())


def test_load__without_a_value_is_absent() -> None:
    assert load(lambda: None, [], "thing") == Loaded(values={}, absent=("thing",))
    loaded = load(lambda ids: {2: "two", 3: None, 9: "not asked for"}, [1, 2, 3])
    assert loaded == Loaded(values={"thing:2": "two"}, absent=("thing:1", "thing:3"))


@pytest.mark.parametrize(("asked", "given"), [(42, "42"), ("42", 42), (UUID(UUID_TEXT), UUID_TEXT)])
def test_load__ids_are_one_when_their_keys_are(asked: Any, given: Any) -> None:
    assert load(lambda ids: {given: "value"}, [asked]).values == {f"thing:{asked}": "value"}


@pytest.mark.parametrize("odd", [None, (1, 2), "a b", 1.5, ""])
def test_load__what_is_no_id_costs_no_other_key(odd: Any) -> None:
    loaded = load(lambda ids: {1: "one", odd: "odd", "3": "three"}, [1, 2, 3])
    assert loaded == Loaded(values={"thing:1": "one", "thing:3": "three"}, absent=("thing:2",))
    with pytest.raises(InvalidId):
        load(lambda ids: {odd: "nothing else"}, [1])


def query() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


@pytest.mark.django_db
def test_query_count__is_that_of_the_block() -> None:
    query()
    with QueryCount() as outer:
        query()
        with QueryCount() as inner, connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE counted (number integer)")
            cursor.executemany("INSERT INTO counted VALUES (%s)", [(1,), (2,), (3,)])
    query()
    assert (outer.queries, inner.queries) == (3, 2)


@pytest.mark.django_db
@pytest.mark.parametrize("act", [query, lambda: connection.cursor().execute("nonsense")])
def test_query_count__counts_what_fails_and_ends_with_the_block(act: Callable[[], None]) -> None:
    before = list(connection.execute_wrappers)
    outcome: list[Any] = []
    with pytest.raises((DatabaseError, ZeroDivisionError)), QueryCount() as count:
        outcome.append(count)
        act()
        raise ZeroDivisionError
    assert outcome[0].queries == 1
    assert list(connection.execute_wrappers) == before
