"""Loaders and functions for ids that could not be called as they will be are refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from tests.unit.jobs.declarations import crowd, crowd_ids, lonely, refusal
from warmer import jobs, warm, warm_many

pytestmark = pytest.mark.usefixtures("registry")


async def load_later(*ids: Any) -> Any:
    return ids


async def yield_later() -> Any:
    yield 1


def load_of(site: Any, ids: Any = None, *, more: Any = 0) -> Any:
    return site, ids, more


class Loaders:
    """Functions of a project, in an object."""

    def load(self) -> Any:
        return self

    def load_many(self, ids: Any) -> Any:
        return ids

    def __call__(self, *ids: Any) -> Any:
        return ids


class AsyncLoaders:
    async def __call__(self, *ids: Any) -> Any:
        return ids


def passing_the_site(loader: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate as projects do: the wrapper looks like what it wraps, and is called in another way."""

    @wraps(loader)
    def wrapper(*args: Any) -> Any:
        return loader("site", *args)

    return wrapper


CALLED_WITH_NOTHING = "and is called without arguments: write e.g. 'def load()'"
CALLED_WITH_IDS = "and is called with one argument, the list of ids: write e.g. 'def load(ids)'"
ASYNC = "is async, and would be called without being awaited: write 'def'"


def declare_one(loader: Any) -> Any:
    return warm("called", name="called")(loader)


def declare_many(loader: Any, ids: Any = crowd_ids) -> Any:
    return warm_many("called:{id}", name="called", ids=ids)(loader)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: declare_one(load_later), f": the loader {ASYNC}"),
        (lambda: declare_many(load_later), f": the loader {ASYNC}"),
        (lambda: declare_many(partial(load_later, 1)), f": the loader {ASYNC}"),
        (lambda: declare_many(partial(AsyncLoaders(), 1)), f": the loader {ASYNC}"),
        (lambda: declare_one(yield_later), f": the loader {ASYNC}"),
        (lambda: declare_many(crowd, load_later), f" {ASYNC}"),
        (lambda: declare_many(crowd, yield_later), f" {ASYNC}"),
        (lambda: declare_one(crowd), f": the loader takes (ids), {CALLED_WITH_NOTHING}"),
        (lambda: declare_one(load_of), f": the loader takes (site, ids, more), {CALLED_WITH_NOTHING}"),
        (lambda: declare_one(Loaders.load), f": the loader takes (self), {CALLED_WITH_NOTHING}"),
        (lambda: declare_many(lonely), f": the loader takes no argument, {CALLED_WITH_IDS}"),
        (lambda: declare_many(lambda one, two: {}), f": the loader takes (one, two), {CALLED_WITH_IDS}"),
        (lambda: declare_many(lambda ids, *, must: {}), f": the loader takes (ids, must), {CALLED_WITH_IDS}"),
        (lambda: declare_many(crowd, crowd), " takes (ids), and is called without arguments"),
    ],
)
def test_declaration__function_that_cannot_be_called_so(declare: Callable[[], object], message: str) -> None:
    said = refusal(declare)

    assert said.startswith("The job 'called' (")
    assert message in said


@pytest.mark.parametrize(
    "declare",
    [
        lambda: declare_one(partial(load_of, 1)),
        lambda: declare_one(lambda more=1: more),
        lambda: declare_one(lambda *args, **options: 1),
        lambda: declare_one(Loaders().load),
        lambda: declare_one(passing_the_site(load_of)),
        lambda: declare_many(load_of),
        lambda: declare_many(partial(load_of, 1)),
        lambda: declare_many(partial(load_of, more=1)),
        lambda: declare_many(Loaders().load_many),
        lambda: declare_many(passing_the_site(load_of)),
        lambda: declare_many(dict),  # of which Python tells no signature
        lambda: declare_many(crowd, list),
        lambda: declare_many(crowd, partial(range, 3)),
        lambda: declare_many(async_to_sync(load_later), async_to_sync(load_later)),
    ],
)
def test_declaration__function_that_can_be_called_so(declare: Callable[[], Any]) -> None:
    assert declare() is jobs["called"]
