"""Specs: frozen data that was checked when it was made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any

import pytest

from myapp.models import Post
from tests.jobs import make_spec
from warmer.declarations.spec import MAX_NAME_LENGTH, Dependency, JobSpec
from warmer.exceptions import DeclarationError
from warmer.stores import is_fenced

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
TICK = timedelta(microseconds=1)


def refusal(make: Callable[[], JobSpec], name: str = "things") -> str:
    """Return why a spec is refused, without the beginning that says which job it is and where it stands."""
    with pytest.raises(DeclarationError) as caught:
        make()
    beginning = f"The job {name!r} (somewhere:1): "
    message = str(caught.value)
    assert message.startswith(beginning)
    assert message.endswith(".")
    return message.removeprefix(beginning).removesuffix(".")


def test_spec__is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        make_spec().timeout = MINUTE  # type: ignore[misc]


def test_spec__is_itself_and_no_other() -> None:
    same: dict[str, Any] = {"loader": print, "ids": list}
    spec = make_spec(**same)

    assert spec == spec
    assert spec != make_spec(**same)
    assert len({spec, spec, make_spec(**same)}) == 2


def test_spec__takes_names_only() -> None:
    with pytest.raises(TypeError, match="positional"):
        JobSpec("things")  # type: ignore[call-arg, misc]


def test_keyed() -> None:
    assert make_spec("thing:{id}").keyed
    assert not make_spec("thing").keyed


@pytest.mark.parametrize("name", ["things", "_private", "a", "Shop.top-10", "a" * MAX_NAME_LENGTH])
def test_name__allowed(name: str) -> None:
    assert make_spec(name=name).name == name


@pytest.mark.parametrize("name", ["", "<lambda>", "10_top", "-a", ".a", "top ten", "a:b", "a/b", "a\n", 5])
def test_name__refused(name: Any) -> None:
    assert refusal(lambda: make_spec(name=name), name) == (
        "a name begins with a letter and holds letters, digits, '_', '.' and '-' only: give name="
    )


@pytest.mark.parametrize("name", [None, True])
def test_name__of_another_type(name: Any) -> None:
    assert refusal(lambda: make_spec(name=name), name).startswith("a name begins with a letter")


def test_name__too_long_for_the_ledger() -> None:
    name = "a" * (MAX_NAME_LENGTH + 1)

    assert refusal(lambda: make_spec(name=name), name) == "the name is longer than 100 characters: give name="


@pytest.mark.parametrize(
    "times",
    [
        {"timeout": MINUTE + TICK, "every": MINUTE},
        {"timeout": SECOND, "every": None},
        {"timeout": 2 * SECOND, "every": SECOND},
        {"timeout": 2 * MINUTE + TICK, "every": MINUTE, "jitter": MINUTE},
        {"timeout": MINUTE, "every": None, "jitter": MINUTE - TICK},
    ],
)
def test_times__allowed(times: dict[str, Any]) -> None:
    spec = make_spec(**times)

    assert {option: getattr(spec, option) for option in times} == times


@pytest.mark.parametrize("option", ["timeout", "every", "jitter"])
@pytest.mark.parametrize("value", [900, 900.0, "15 min"])
def test_times__of_another_type(option: str, value: Any) -> None:
    assert refusal(lambda: make_spec(**{option: value})) == (
        f"{option}={value!r}: expected a timedelta, e.g. {option}=timedelta(minutes=15)"
    )


@pytest.mark.parametrize("option", ["timeout", "jitter"])
def test_times__none_where_one_is_needed(option: str) -> None:
    assert refusal(lambda: make_spec(**{option: None})) == (
        f"{option}=None: expected a timedelta, e.g. {option}=timedelta(minutes=15)"
    )


@pytest.mark.parametrize("option", ["timeout", "every"])
@pytest.mark.parametrize("value", [timedelta(0), SECOND - TICK, -MINUTE])
def test_times__shorter_than_a_second(option: str, value: timedelta) -> None:
    assert refusal(lambda: make_spec(**{option: value})) == f"{option}={value}: expected at least a second"


def test_jitter__below_zero() -> None:
    assert refusal(lambda: make_spec(jitter=-TICK)).startswith(f"jitter={-TICK}: expected")


@pytest.mark.parametrize("jitter", [MINUTE, 2 * MINUTE])
def test_jitter__as_long_as_the_timeout(jitter: timedelta) -> None:
    why = refusal(lambda: make_spec(timeout=MINUTE, every=None, jitter=jitter))

    assert why == f"jitter={jitter} must be shorter than timeout=0:01:00"


@pytest.mark.parametrize("timeout", [MINUTE, MINUTE - TICK])
def test_timeout__not_longer_than_every(timeout: timedelta) -> None:
    assert refusal(lambda: make_spec(timeout=timeout, every=MINUTE)) == (
        f"timeout={timeout} must be longer than every=0:01:00, or keys expire before they are refreshed: "
        "raise timeout, or lower every"
    )


@pytest.mark.parametrize("jitter", [MINUTE, MINUTE + TICK])
def test_timeout__not_longer_than_every_once_jitter_is_taken_off(jitter: timedelta) -> None:
    assert refusal(lambda: make_spec(timeout=2 * MINUTE, every=MINUTE, jitter=jitter)) == (
        "timeout=0:02:00 less jitter must be longer than every=0:01:00, or keys expire before they are "
        "refreshed: raise timeout, or lower every"
    )


def test_cache__unknown_alias(settings: Any) -> None:
    settings.CACHES = {**settings.CACHES, "pages": settings.CACHES["default"]}
    assert make_spec(cache="pages").cache == "pages"

    why = refusal(lambda: make_spec(cache="page"))

    assert why == "there is no cache 'page': CACHES has 'default', 'pages'"


@pytest.mark.parametrize("size", [0, -1, 1.5, "500", None, True])
def test_batch_size__refused(size: Any) -> None:
    why = refusal(lambda: make_spec(batch_size=size))

    assert why == f"batch_size={size!r}: expected a whole number of at least 1"


def test_batch_size__one() -> None:
    assert make_spec(batch_size=1).batch_size == 1


@pytest.mark.parametrize("value", ["delete", "", None, True])
def test_on_change__refused(value: Any) -> None:
    why = refusal(lambda: make_spec(on_change=value))

    assert why == f"on_change={value!r}: expected 'invalidate' or 'refresh'"


@pytest.mark.parametrize("value", ["invalidate", "refresh"])
def test_on_change__allowed(value: str) -> None:
    assert make_spec(on_change=value).on_change == value


def test_queue__empty() -> None:
    assert refusal(lambda: make_spec(queue="")) == "queue='': expected the name of a Celery queue"


@pytest.mark.parametrize("ids", ["id", lambda post: post.pk])
def test_depends_on__ids_of_a_change_for_a_single_key(ids: Any) -> None:
    dependencies = (Dependency(model=Post), Dependency(model=Post, ids=ids))
    assert make_spec("thing:{id}", depends_on=dependencies).depends_on == dependencies

    why = refusal(lambda: make_spec("thing", depends_on=dependencies))

    assert why == "a job with one key needs no ids of a change: write depends_on=[Model, ...]"


@pytest.mark.parametrize("model", [Post, "myapp.Post"])
def test_dependency__label(model: Any) -> None:
    assert Dependency(model=model).label == "myapp.Post"


def test_store__keeps_what_was_declared() -> None:
    spec = make_spec(name="mine", timeout=timedelta(minutes=20), jitter=timedelta(milliseconds=1500))

    store = spec.store

    assert (store.alias, store.fence, store.template) == ("default", "thing:*", spec.key)
    assert (store.timeout, store.jitter) == (1200.0, 1.5)
    assert is_fenced("default")
    assert spec.store is store


def test_store__follows_the_settings_of_a_test(settings: Any) -> None:
    spec = make_spec()
    before = spec.store

    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

    assert type(spec.store) is not type(before)
