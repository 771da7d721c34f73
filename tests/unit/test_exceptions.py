"""Exceptions: what may be caught with what, and what a message tells."""

from __future__ import annotations

import inspect
import pickle

import pytest
from django.core.exceptions import ImproperlyConfigured

from warmer import exceptions
from warmer.exceptions import DeclarationError, InvalidId, UnknownJob, WarmerError

CLASSES = [each for _, each in inspect.getmembers(exceptions, inspect.isclass)]
OWN = [each for each in CLASSES if each.__module__ == exceptions.__name__ and not issubclass(each, Warning)]


@pytest.mark.parametrize("error", OWN)
def test_exception__has_one_of_two_bases(error: type[Exception]) -> None:
    assert issubclass(error, WarmerError) is not issubclass(error, ImproperlyConfigured)


@pytest.mark.parametrize(
    ("error", "base"),
    [(DeclarationError, ImproperlyConfigured), (InvalidId, ValueError), (UnknownJob, LookupError)],
)
def test_exception__is_what_python_and_django_call_it(error: type[Exception], base: type[Exception]) -> None:
    assert issubclass(error, base)


@pytest.mark.parametrize(
    ("name", "known", "nearest", "named"),
    [
        (
            "user_profile",
            ["posts", "user_profiles", "popular_posts"],
            ["user_profiles"],
            "mean user_profiles?",
        ),
        (
            "posts",
            [f"posts_{n}" for n in range(2, 6)],
            ["posts_5", "posts_4", "posts_3"],
            "posts_5 or posts_4",
        ),
        ("xyz", iter(["user_profiles", "popular_posts"]), [], "popular_posts, user_profiles"),
        ("xyz", [], [], "@warm"),
    ],
)
def test_unknown_job__names_the_nearest_or_all(
    name: str, known: list[str], nearest: list[str], named: str
) -> None:
    error = UnknownJob(name, known)
    assert (error.name, error.nearest) == (name, nearest)
    assert named in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.nearest) == (UnknownJob, str(error), nearest)
