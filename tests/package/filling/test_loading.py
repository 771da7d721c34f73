"""Loading: what a loader returns, checked and arranged by key; and the queries that it cost."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, connection

from tests.support.jobs import make_spec
from warmer.exceptions import InvalidId
from warmer.filling.loading import Loaded, counted_queries
from warmer.filling.loading import load as load_batch

UUID_TEXT = "12345678-1234-5678-1234-567812345678"


def load(loader: Callable[..., Any], ids: Sequence[Any], key: str = "thing:{id}") -> Loaded:
    spec = make_spec(key, loader=loader)
    return load_batch(spec, spec.key.batch(ids))


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
def test_counted_queries__are_those_of_the_block() -> None:
    query()
    with counted_queries() as outer:
        query()
        with counted_queries() as inner, connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE counted (number integer)")
            cursor.executemany("INSERT INTO counted VALUES (%s)", [(1,), (2,), (3,)])
    query()
    assert (outer.queries, inner.queries) == (3, 2)


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
