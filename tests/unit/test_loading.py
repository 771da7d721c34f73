"""Loading: what a loader returns, checked and arranged by key; and the queries that it cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, connection

from tests.jobs import make_spec
from warmer.declarations.spec import JobSpec
from warmer.exceptions import InvalidId, LoaderError
from warmer.filling.loading import Loaded, counted_queries
from warmer.filling.loading import load as load_batch


def load(spec: JobSpec, ids: Sequence[Any]) -> Loaded:
    return load_batch(spec, spec.key.batch(ids))


UUID_TEXT = "12345678-1234-5678-1234-567812345678"


@pytest.mark.parametrize("value", ["thing", 0, "", [], False, {"a": 1}])
def test_load__single(value: Any) -> None:
    assert load(make_spec("thing", loader=lambda: value), []) == Loaded(values={"thing": value}, absent=())


def test_load__single_without_a_value() -> None:
    assert load(make_spec("thing", loader=lambda: None), []) == Loaded(values={}, absent=("thing",))


def test_load__keyed() -> None:
    asked = []

    def loader(ids: list[int]) -> dict[int, str]:
        asked.append(ids)
        return {2: "two", 1: "one"}

    assert load(make_spec(loader=loader), (1, 2)) == Loaded(
        values={"thing:1": "one", "thing:2": "two"}, absent=()
    )
    assert asked == [[1, 2]]
    assert type(asked[0]) is list


@pytest.mark.parametrize("value", [0, "", [], False])
def test_load__keyed_value_that_is_false_is_a_value(value: Any) -> None:
    assert load(make_spec(loader=lambda ids: {1: value}), [1]).values == {"thing:1": value}


def test_load__keyed_without_some_values() -> None:
    loaded = load(make_spec(loader=lambda ids: {2: "two", 3: None}), [1, 2, 3])

    assert loaded == Loaded(values={"thing:2": "two"}, absent=("thing:1", "thing:3"))


def test_load__keyed_with_more_than_was_asked_for() -> None:
    loaded = load(make_spec(loader=lambda ids: {1: "one", 9: "nine"}), [1])

    assert loaded == Loaded(values={"thing:1": "one"}, absent=())


@pytest.mark.parametrize(("asked", "given"), [(42, "42"), ("42", 42), (UUID(UUID_TEXT), UUID_TEXT)])
def test_load__ids_are_one_when_their_keys_are(asked: Any, given: Any) -> None:
    loaded = load(make_spec(loader=lambda ids: {given: "value"}), [asked])

    assert loaded == Loaded(values={f"thing:{asked}": "value"}, absent=())


def test_load__any_mapping_will_do() -> None:
    loaded = load(make_spec(loader=lambda ids: MappingProxyType({1: "one"})), [1])

    assert loaded.values == {"thing:1": "one"}


@pytest.mark.parametrize(
    ("returned", "kind"), [(None, "NoneType"), ([1], "list"), ("text", "str"), (5, "int")]
)
def test_load__keyed_loader_returns_no_mapping(returned: Any, kind: str) -> None:
    with pytest.raises(LoaderError) as caught:
        load(make_spec(loader=lambda ids: returned), [1])

    assert str(caught.value) == (
        f"The loader of 'things' returned {kind}: expected a mapping from each id to its value, "
        "e.g. {row['id']: row for row in rows}."
    )


@pytest.mark.parametrize("odd", [None, (1, 2), "a b", 1.5, ""])
def test_load__keyed_what_is_no_id_costs_no_other_key(odd: Any) -> None:
    loaded = load(make_spec(loader=lambda ids: {1: "one", odd: "odd", "3": "three"}), [1, 2, 3])

    assert loaded == Loaded(values={"thing:1": "one", "thing:3": "three"}, absent=("thing:2",))


def test_load__keyed_loader_returns_what_is_no_id_and_nothing_else() -> None:
    with pytest.raises(InvalidId, match=r"^None cannot be an id"):
        load(make_spec(loader=lambda ids: {None: "value"}), [1])


@pytest.mark.parametrize("key", ["thing", "thing:{id}"])
def test_load__error_of_the_loader_is_raised_as_it_is(key: str) -> None:
    error = RuntimeError("no such table")

    def loader(*ids: Any) -> Any:
        raise error

    with pytest.raises(RuntimeError) as caught:
        load(make_spec(key, loader=loader), [1])

    assert caught.value is error


def query() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


@pytest.mark.django_db
def test_counted_queries__of_the_block_alone() -> None:
    query()

    with counted_queries() as count:
        assert count.queries == 0
        query()
        query()

    query()
    assert count.queries == 2


@pytest.mark.django_db
def test_counted_queries__one_in_another() -> None:
    with counted_queries() as outer:
        query()
        with counted_queries() as inner:
            query()

    assert (outer.queries, inner.queries) == (2, 1)


@pytest.mark.django_db
def test_counted_queries__of_many_rows_are_one() -> None:
    with counted_queries() as count, connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE counted (number integer)")
        cursor.executemany("INSERT INTO counted VALUES (%s)", [(1,), (2,), (3,)])

    assert count.queries == 2


@pytest.mark.django_db
@pytest.mark.parametrize("act", [query, lambda: connection.cursor().execute("nonsense")])
def test_counted_queries__count_what_fails_and_end_with_the_block(act: Callable[[], None]) -> None:
    before = list(connection.execute_wrappers)
    outcome: list[Any] = []

    with pytest.raises((DatabaseError, ZeroDivisionError)), counted_queries() as count:
        outcome.append(count)
        act()
        raise ZeroDivisionError

    assert outcome[0].queries == 1
    assert list(connection.execute_wrappers) == before
