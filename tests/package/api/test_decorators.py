"""What `@warm` and `@warm_many` make of their options, and what a job is: its loader, with keys."""

import copy
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any

import pytest
from django import forms
from django.core.cache import cache
from django.template import Context, Template

from myapp.models import Comment, Post
from myapp.warming import popular_posts
from tests.package.api.declarations import HOUR, MINUTE, crowd, lonely, warm_crowd, warm_lonely
from warmer import jobs, warm
from warmer.api import KeyedJob, SingleJob
from warmer.declarations.spec import Dependency
from warmer.exceptions import InvalidId

pytestmark = pytest.mark.usefixtures("registry")

LOCMEM = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
both = pytest.mark.parametrize("declare", [warm_lonely, warm_crowd])


@pytest.mark.parametrize(
    ("declare", "kind", "loader", "batch_size"),
    [(warm_lonely, SingleJob, lonely, 1), (warm_crowd, KeyedJob, crowd, 500)],
)
def test_job__is_its_loader_with_the_default_options(
    declare: Callable[..., Any], kind: type, loader: Callable[..., Any], batch_size: int
) -> None:
    job = declare()
    assert isinstance(job, kind)
    assert jobs[loader.__name__] is job
    assert (job.name, job.__name__, job.__doc__) == (loader.__name__, loader.__name__, loader.__doc__)
    assert job.__module__ == loader.__module__
    assert inspect.signature(job) == inspect.signature(loader)
    spec = job.spec
    assert (spec.loader, spec.batch_size) == (loader, batch_size)
    assert (spec.timeout, spec.every, spec.jitter) == (HOUR, 15 * MINUTE, timedelta(0))
    assert (spec.cache, spec.queue, spec.depends_on) == ("default", "warming", ())
    assert (spec.on_change, spec.required) == ("invalidate", True)
    with pytest.raises(FrozenInstanceError):
        spec.timeout = MINUTE


@both
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
    } | ({"every": None, "batch_size": 7} if declare is warm_crowd else {})
    spec = declare(**options).spec
    assert {option: getattr(spec, option) for option in options} == options


@both
def test_options__defaults_are_the_settings(declare: Callable[..., Any], settings: Any) -> None:
    settings.CACHES = {**settings.CACHES, "other": LOCMEM}
    settings.WARMER_CACHE, settings.WARMER_QUEUE, settings.WARMER_BATCH_SIZE = "other", "slow", 7
    spec = declare().spec
    assert (spec.cache, spec.queue) == ("other", "slow")
    assert spec.batch_size == (7 if spec.keyed else 1)


def test_store__keeps_what_was_declared_until_the_caches_change(settings: Any) -> None:
    spec = warm_crowd(timeout=timedelta(minutes=20), jitter=1.5).spec
    store = spec.store
    assert (store.alias, store.template) == ("default", spec.key)
    assert (store.timeout, store.jitter) == (1200.0, 1.5)
    assert spec.store is store
    settings.CACHES = {"default": LOCMEM}
    assert type(spec.store) is not type(store)


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset])
@both
def test_depends_on__models(declare: Callable[..., Any], kind: Callable[[Any], Any]) -> None:
    spec = declare(depends_on=kind([Post, "myapp.Comment"])).spec
    assert set(spec.depends_on) == {Dependency(model=Post), Dependency(model="myapp.Comment")}


def test_depends_on__models_with_what_gives_the_ids() -> None:
    def post_of(comment: Comment) -> int:
        return comment.post_id

    depends_on = {Post: "id", "myapp.Comment": post_of}
    assert warm_crowd(depends_on=depends_on, fields={Comment: ["post_id"]}).spec.depends_on == (
        Dependency(model=Post, ids="id"),
        Dependency(model="myapp.Comment", ids=post_of, fields=("post_id",)),
    )


def test_fields__of_a_label_in_lower_case() -> None:
    (dependency,) = warm_crowd(depends_on={"myapp.post": "id"}, fields={Post: ["title"]}).spec.depends_on
    assert dependency.fields == ("title",)


def test_job__when_called_and_shown() -> None:
    single, keyed = warm_lonely(name="mine"), warm_crowd()
    assert (single(), keyed([7])) == ("value", {7: "value 7"})
    assert repr(single) == "<SingleJob mine 'lonely'>"
    assert repr(keyed) == "<KeyedJob crowd 'crowd:{id}'>"
    assert keyed.key(42) == "crowd:42"
    with pytest.raises(InvalidId):
        keyed.key("4 2")  # type: ignore[arg-type]


def test_job__gives_choices_to_a_form() -> None:
    """Django copies a form's fields for each form."""
    job = warm("choices", name="choices")(lambda: [("a", "A")])

    job.get()

    class ChoiceForm(forms.Form):
        choice = forms.ChoiceField(choices=job.get)

    assert list(ChoiceForm()["choice"].field.choices) == [("a", "A")]
    assert copy.deepcopy(popular_posts) is pickle.loads(pickle.dumps(popular_posts)) is popular_posts


def test_job__is_read_and_not_called_by_a_template() -> None:
    job = warm_lonely()
    cache.set("lonely", "cached")
    assert Template("{{ job.get }}").render(Context({"job": job})) == "cached"
    changes = Template("{{ job.invalidate }}{{ job.warm }}{{ many.invalidate }}{{ many.warm }}")
    assert changes.render(Context({"job": job, "many": warm_crowd()})) == ""
    assert cache.get("lonely") == "cached"


@pytest.mark.parametrize("call", ["warm", "invalidate", "get_many"])
@pytest.mark.parametrize("ids", [12, "12", b"12", 1.5, object])
def test_ids__are_several(call: str, ids: Any) -> None:
    job = warm_crowd()
    with pytest.raises(TypeError) as caught:
        getattr(job, call)(ids)
    assert f"crowd.{call}([{ids!r}])" in str(caught.value)
