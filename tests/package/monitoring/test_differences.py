"""Where two values differ: paths, and never a value."""

from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from users.models import CustomUser
from warmer.monitoring.comparison import MAX_PATHS, differences


class Plain:
    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


JOINED = datetime(2026, 1, 1, tzinfo=UTC)
ADA, EVE, SAME = (CustomUser(pk=1, username=name, date_joined=JOINED) for name in ("ada", "eve", "ada"))


@pytest.mark.parametrize(
    ("cached", "current", "paths"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, ("b",)),
        ({"a": 1, "b": 2}, {"b": 3, "a": 0}, ("a", "b")),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, ("a.b.c",)),
        ({"a": 1}, {"a": 1, "b": 2}, ("b (new)",)),
        ({"a": 1, "b": 2}, {"a": 1}, ("b (no longer there)",)),
        ({"a": "x"}, {"a": None}, ("a (str, now NoneType)",)),
        ({"a": [1, 2, 3]}, {"a": [1, 2]}, ("a (length)",)),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, ("a[1].b",)),
        ([{"a": 1}], [{"a": 2}], ("[0].a",)),
        ([1], [], ("(length)",)),
        ([1], (1,), ("(list, now tuple)",)),
        ("x", "y", ("str",)),
        (1, "1", ("(int, now str)",)),
        ({"a": True}, {"a": 1}, ("a (bool, now int)",)),
        ({1: "x"}, {1: "y"}, ("1",)),
        ({"ada@example.org": 1}, {"ada@example.org": 2}, ("*",)),
        ({("a", 1): 1}, {("a", 1): 2}, ("*",)),
        (Plain(a=1, _b=1), Plain(a=2, _b=2), ("a",)),
        (ADA, EVE, ("username",)),  # Django calls them equal, as their primary keys are
        # Equal values:
        (ADA, SAME, ()),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, ()),
        ({"a": 1}, OrderedDict(a=1), ()),
        ({"a": float("nan")}, {"a": float("nan")}, ()),
        (1, 1.0, ()),
        (None, None, ()),
        ({1, 2}, {2, 1}, ()),
        (JOINED, datetime(2026, 1, 1, tzinfo=UTC), ()),
        (Plain(a=[1]), Plain(a=[1]), ()),
    ],
)
def test_differences__are_named_by_their_paths(cached: Any, current: Any, paths: tuple[str, ...]) -> None:
    assert differences(cached, current) == paths


def test_differences__are_bounded_in_number() -> None:
    many = {f"field{number}": 0 for number in range(1000)}
    assert len(differences(many, dict.fromkeys(many, 1))) == MAX_PATHS


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, VALUES)
def test_differences__of_random_values_are_none_to_itself_and_some_to_an_unequal_one(one: Any, other: Any) -> None:
    assert differences(one, one) == ()
    if one != other:
        # NaN is no other value than NaN.
        assert differences(one, other) or "nan" in repr(one)
