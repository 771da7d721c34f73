"""Exceptions: what may be caught with what, and what a message tells."""

from __future__ import annotations

import inspect
import pickle

import pytest
from django.core.exceptions import ImproperlyConfigured

from warmer import exceptions
from warmer.exceptions import (
    DeclarationError,
    InvalidId,
    LoaderError,
    StoreUnavailable,
    UnknownJob,
    WarmerError,
)

CLASSES = [each for _, each in inspect.getmembers(exceptions, inspect.isclass)]
OWN = [each for each in CLASSES if each.__module__ == exceptions.__name__]
EVERY = [each for each in OWN if not issubclass(each, Warning)]


@pytest.mark.parametrize("error", EVERY)
def test_exception__has_one_of_two_bases(error: type[Exception]) -> None:
    assert issubclass(error, WarmerError) is not issubclass(error, ImproperlyConfigured)


@pytest.mark.parametrize(
    ("error", "base"),
    [(DeclarationError, ImproperlyConfigured), (InvalidId, ValueError), (UnknownJob, LookupError)],
)
def test_exception__is_what_python_and_django_call_it(error: type[Exception], base: type[Exception]) -> None:
    assert issubclass(error, base)


@pytest.mark.parametrize("error", [DeclarationError, InvalidId, LoaderError, StoreUnavailable, WarmerError])
def test_exception__shows_its_message(error: type[Exception]) -> None:
    assert str(error("what is wrong")) == "what is wrong"


def test_unknown_job__names_the_nearest() -> None:
    error = UnknownJob("user_profile", ["posts", "user_profiles", "popular_posts"])

    assert error.name == "user_profile"
    assert error.nearest == ["user_profiles"]
    assert str(error) == "There is no job 'user_profile'. Did you mean user_profiles?"


def test_unknown_job__names_up_to_three_of_the_nearest() -> None:
    error = UnknownJob("posts", ["posts_5", "posts_4", "posts_3", "posts_2"])

    assert len(error.nearest) == 3
    assert str(error).endswith(f"Did you mean {' or '.join(error.nearest)}?")


def test_unknown_job__names_all_when_none_is_near() -> None:
    error = UnknownJob("xyz", iter(["user_profiles", "popular_posts"]))

    assert error.nearest == []
    assert str(error) == "There is no job 'xyz'. Declared are: popular_posts, user_profiles."


def test_unknown_job__says_what_to_write_when_there_is_none() -> None:
    assert str(UnknownJob("xyz", [])) == (
        "There is no job 'xyz'. No job is declared: write one with @warm in an app's warming.py."
    )


def test_unknown_job__goes_from_process_to_process() -> None:
    error = UnknownJob("post", ["posts"])

    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), str(copy), copy.name, copy.nearest) == (UnknownJob, str(error), "post", ["posts"])
