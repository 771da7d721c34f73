"""What `@warm` and `@warm_many` make of their options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any

import pytest

from myapp.models import Comment, Post
from tests.jobs import make_spec
from tests.unit.jobs.declarations import MINUTE, crowd, crowd_ids, lonely, warm_crowd, warm_lonely
from warmer import jobs
from warmer.api import SingleJob
from warmer.declarations.registry import Registry
from warmer.declarations.spec import Dependency
from warmer.keys import KeyTemplate

pytestmark = pytest.mark.usefixtures("registry")

LOCMEM = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}


def post_of(comment: Comment) -> int:
    return comment.post_id


def test_warm__makes_and_registers_a_job() -> None:
    job = warm_lonely()

    assert isinstance(job, SingleJob)
    assert jobs["lonely"] is job
    assert job.name == job.spec.name == "lonely"


@pytest.mark.parametrize(
    ("declare", "own"),
    [
        (
            warm_lonely,
            {
                "key": KeyTemplate.parse("lonely", keyed=False),
                "loader": lonely,
                "ids": None,
                "keyed": False,
                "batch_size": 1,
            },
        ),
        (
            warm_crowd,
            {
                "key": KeyTemplate.parse("crowd:{id}", keyed=True),
                "loader": crowd,
                "ids": crowd_ids,
                "keyed": True,
                "batch_size": 500,
            },
        ),
    ],
)
def test_options__defaults(declare: Callable[..., Any], own: dict[str, Any]) -> None:
    spec = declare().spec

    assert {option: getattr(spec, option) for option in own} == own
    assert spec.depends_on == ()
    assert (spec.timeout, spec.every, spec.jitter) == (
        timedelta(hours=1),
        timedelta(minutes=15),
        timedelta(0),
    )
    assert (spec.cache, spec.queue) == ("default", "warming")
    assert (spec.on_change, spec.required) == ("invalidate", True)


@pytest.mark.parametrize("declare", [warm_lonely, warm_crowd])
def test_options__are_those_of_the_declaration(declare: Callable[..., Any], settings: Any) -> None:
    settings.CACHES = {**settings.CACHES, "other": LOCMEM}
    options = {
        "name": "mine",
        "cache": "other",
        "timeout": 4 * MINUTE,
        "every": MINUTE,
        "on_change": "refresh",
        "required": False,
        "queue": "slow",
        "jitter": 2 * MINUTE,
    }

    spec = declare(**options).spec

    assert {option: getattr(spec, option) for option in options} == options


def test_spec__is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        warm_lonely().spec.timeout = MINUTE  # type: ignore[misc]


def test_store__keeps_what_was_declared(settings: Any) -> None:
    spec = warm_crowd(timeout=timedelta(minutes=20), jitter=1.5).spec
    store = spec.store
    assert (store.alias, store.fence, store.template) == ("default", "crowd:*", spec.key)
    assert (store.timeout, store.jitter) == (1200.0, 1.5)
    assert spec.store is store

    settings.CACHES = {"default": LOCMEM}
    assert type(spec.store) is not type(store)


def test_options__not_scheduled() -> None:
    assert warm_lonely(every=None).spec.every is None


def test_options__batch_size() -> None:
    assert warm_crowd(batch_size=7).spec.batch_size == 7


@pytest.mark.parametrize("declare", [warm_lonely, warm_crowd])
def test_options__defaults_are_the_settings(declare: Callable[..., Any], settings: Any) -> None:
    settings.CACHES = {**settings.CACHES, "other": LOCMEM}
    settings.WARMER_CACHE = "other"
    settings.WARMER_QUEUE = "slow"
    settings.WARMER_BATCH_SIZE = 7

    spec = declare().spec

    assert (spec.cache, spec.queue) == ("other", "slow")
    assert spec.batch_size == (7 if spec.keyed else 1)


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset])
def test_depends_on__models(kind: Callable[[Any], Any]) -> None:
    spec = warm_lonely(depends_on=kind([Post, "myapp.Comment"])).spec

    assert set(spec.depends_on) == {Dependency(model=Post), Dependency(model="myapp.Comment")}


def test_depends_on__models_with_what_gives_the_ids() -> None:
    depends_on = {Post: "id", "myapp.Comment": post_of}
    spec = warm_crowd(depends_on=depends_on, fields={Comment: ["post_id"]}).spec

    assert spec.depends_on == (
        Dependency(model=Post, ids="id"),
        Dependency(model="myapp.Comment", ids=post_of, fields=("post_id",)),
    )


def test_depends_on__models_of_a_keyed_job_without_ids() -> None:
    assert warm_crowd(depends_on=[Post]).spec.depends_on == (Dependency(model=Post, ids=None),)


def test_registry_fixture__leaves_no_job_behind(registry: Registry) -> None:
    # The other tests of this file declare jobs of these names, in any order.
    assert {"lonely", "crowd", "mine"}.isdisjoint(registry)
    assert {"popular_posts", "posts", "user_profiles"} <= set(registry)


def test_empty_registry_fixture(empty_registry: Registry) -> None:
    assert empty_registry is jobs
    assert dict(jobs) == {}
    assert make_spec().name == "things"
    assert dict(jobs) == {}
