"""A declaration that cannot work fails at once, says what to write, and registers nothing."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial, wraps
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import models, transaction
from django.forms import ModelForm
from django.test.utils import isolate_apps

from myapp.models import Comment, Post
from tests.package.api.declarations import HOUR, MINUTE, crowd, lonely, refusal, warm_crowd, warm_lonely
from warmer import jobs, warm, warm_many

pytestmark = pytest.mark.usefixtures("registry")

TICK = timedelta(microseconds=1)


class PostForm(ModelForm):
    class Meta:
        model = Post
        fields = ("title",)


# What is wrong with an option of any job, and what the message names.
OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"evry": 1}, "did you mean every?"),
    ({"colour": "red"}, "the options are name, cache, timeout, every"),
    *[({"name": name}, "give name=") for name in ("top ten", "10_top", "a:b", "a\n", 5, "a" * 101)],
    ({"cache": "pages"}, "CACHES has 'default'"),
    ({"queue": 5}, "queue=5: expected the name"),
    ({"on_change": "delete"}, "expected 'invalidate' or 'refresh'"),
    ({"timeout": None}, "timeout=None: expected a timedelta"),
    ({"timeout": "15 min"}, "timeout='15 min': expected a timedelta"),
    ({"jitter": float("nan")}, "jitter=nan: expected a timedelta"),
    ({"cache": ["default"]}, "there is no cache ['default']"),
    ({"required": ["yes"]}, "required=['yes']: expected True or False"),
    ({"every": True}, "every=True: expected a timedelta"),
    ({"every": 0}, "every=0:00:00: expected at least a second"),
    ({"negative_timeout": 0.5}, "expected at least a second"),
    ({"negative_timeout": -MINUTE}, "expected at least a second"),
    ({"timeout": -1.5}, "expected at least a second"),
    ({"negative_timeout": "a minute"}, "negative_timeout='a minute': expected a timedelta"),
    ({"timeout": MINUTE, "every": MINUTE}, "timeout=0:01:00 must be longer than every=0:01:00"),
    ({"timeout": 2 * MINUTE, "every": MINUTE, "jitter": 60}, "less jitter must be longer"),
    ({"jitter": HOUR}, "less than timeout=1:00:00"),
    ({"jitter": -1}, "expected 0 or more"),
    ({"refresh_below": 1}, "expected a fraction"),
    ({"refresh_below": "half"}, "expected a fraction"),
    ({"refresh_below": 0.15, "every": 25 * MINUTE}, "expected at least 0.42"),
    ({"max_batches_per_second": 0}, "expected a number, at least 0.1, or None"),
    ({"depends_on": Post}, "expected a list of models"),
    ({"depends_on": "myapp.Post"}, "expected a list of models"),
    ({"depends_on": [Post, 5]}, "depends_on names 5"),
    ({"depends_on": [PostForm]}, "PostForm'>: expected a model"),
    ({"depends_on": {int: "id"}}, "depends_on names <class 'int'>"),
    ({"depends_on": {Post: None}}, "to None: expected the path"),
    ({"depends_on": {"myapp.Post": ["id"]}}, "to ['id']: expected the path"),
    ({"depends_on": [Post], "fields": ["title"]}, "fields=['title']: expected a mapping"),
    ({"depends_on": [Post], "fields": {int: ["title"]}}, "fields names <class 'int'>"),
    ({"depends_on": [Post], "fields": {Post: "title"}}, "expected a list of names"),
    *[({"depends_on": [Post], "fields": {Post: [odd]}}, "list of names") for odd in (["title"], 5, None)],
    ({"depends_on": [Post], "fields": {Post: []}}, "list of names"),
    ({"depends_on": [Post], "fields": {Comment: ["body"]}}, "names myapp.Comment"),
    ({"depends_on": [Post], "fields": {Post: ["titel"]}}, "did you mean title?"),
    ({"depends_on": [Post], "fields": {Post: ["zzz"]}}, "the columns are author, author_id, "),
    ({"depends_on": [Post], "fields": {Post: ["comments"]}}, "add that model to depends_on"),
]


@pytest.mark.parametrize("declare", [warm_lonely, warm_crowd])
@pytest.mark.parametrize(("options", "message"), OPTIONS)
def test_declaration__option_that_cannot_work(
    declare: Callable[..., object], options: dict[str, Any], message: str
) -> None:
    said = refusal(partial(declare, **options))
    name = options.get("name") or ("lonely" if declare is warm_lonely else "crowd")
    assert said.startswith(f"The job {name!r} (tests.package.api.declarations:")
    assert message in said


async def load_later(*ids: Any) -> Any:
    return ids


async def yield_later() -> Any:
    yield 1


class Loaders:
    def load(self) -> Any:
        return self

    def load_many(self, ids: Any) -> Any:
        return ids


class Later:
    async def __call__(self) -> Any: ...


def load_of(site: Any, ids: Any = None, *, more: Any = 0) -> Any:
    return site, ids, more


def passing_the_site(loader: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate as projects do: the wrapper looks like what it wraps, but takes other arguments."""

    @wraps(loader)
    def wrapper(*args: Any) -> Any:
        return loader("site", *args)

    return wrapper


def one(loader: Any, **options: Any) -> Any:
    return warm("called", name="called", **options)(loader)


def by(function: Callable[..., Any]) -> dict[str, Any]:
    """Return options with a function that gives the ids of a changed post."""
    return {"depends_on": {Post: function}, "fields": {Post: ["title"]}}


def many(loader: Any, ids: Any = list, **options: Any) -> Any:
    return warm_many("called:{id}", name="called", ids=ids, **options)(loader)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (partial(one, lonely, batch_size=5), "batch_size is an option of @warm_many"),
        (partial(one, lonely, ids=list), "ids is an option of @warm_many"),
        (partial(one, lonely, depends_on={Post: "id"}), "a job with one key has no ids"),
        (partial(many, crowd, batch_size=0), "batch_size=0: expected an integer"),
        (lambda: warm_many("called:{id}")(crowd), "ids is missing"),  # type: ignore[call-arg]
        (partial(many, crowd, [1, 2]), "ids=[1, 2]: expected a function that returns the ids"),
        (partial(many, crowd, iter([1])), "would be exhausted after one run: give the function itself"),
        (partial(many, crowd, depends_on={Comment: "article_id"}), "has no field 'article_id'"),
        (partial(many, crowd, depends_on={Comment: lambda comment: 1}), "write fields={Comment: [...]}"),
        (partial(many, crowd, **by(lambda: 1)), "takes no arguments but is called with a row"),
        (partial(many, crowd, **by(lambda one, two: 1)), "takes (one, two) but is called with a row"),
        (partial(many, crowd, **by(load_later)), "the function of myapp.Post in depends_on is async"),
        (partial(one, load_later), "is async"),
        (partial(one, yield_later), "is async"),
        (partial(one, Later()), "is async"),
        (partial(many, partial(load_later, 1)), "is async"),
        (partial(many, crowd, load_later), "ids is async"),
        (partial(one, crowd), "write e.g. 'def load()'"),
        (partial(one, Loaders.load), "takes (self)"),
        (partial(one, classmethod(lonely)), "is a classmethod, which is not callable"),
        (partial(one, property(lonely)), "is a property, which is not callable"),
        (partial(many, lonely), "write e.g. 'def load(ids)'"),
        (partial(many, lambda ids, *, must: {}), "takes (ids, must)"),
        (partial(many, crowd, crowd), "ids takes (ids)"),
        (lambda: warm(lonely), "@warm on lonely has no key"),  # type: ignore[arg-type]
        (lambda: warm_many(crowd, ids=list), "@warm_many on crowd has no key"),  # type: ignore[arg-type]
        (partial(warm_crowd, "crowd"), "must contain {id} exactly once"),
        (lambda: warm("user:me:profile")(lonely), "'user:{id}:profile' of 'user_profiles' (users.warming:"),
        (lambda: warm("x", name="posts")(lonely), "declared at myapp.warming:"),
        (lambda: warm("x")(lambda: 1), "The job '<lambda>' (tests.package.api.test_refusals:"),
        (lambda: warm("x", every=0)(transaction.atomic(lonely)), f"declarations:{lonely.__code__.co_firstlineno}"),
        (lambda: warm("x")(partial(lonely)), "The job '' (functools:?)"),
    ],
)
def test_declaration__that_cannot_work(declare: Callable[[], object], message: str) -> None:
    assert message in refusal(declare)


@pytest.mark.parametrize(
    "declare",
    [
        partial(one, partial(load_of, 1)),
        partial(one, lambda more=1: more),
        partial(one, lambda *args, **options: 1),
        partial(one, Loaders().load),
        partial(one, passing_the_site(load_of)),
        partial(one, lonely, timeout=61, every=60, jitter=0.5),
        partial(one, lonely, timeout=MINUTE, every=None, jitter=MINUTE - TICK),
        partial(many, load_of),
        partial(many, partial(load_of, more=1)),
        partial(many, Loaders().load_many),
        partial(many, passing_the_site(load_of)),
        partial(many, dict),  # Python knows no signature of it
        partial(many, crowd, partial(range, 3)),
        partial(many, async_to_sync(load_later), async_to_sync(load_later)),
    ],
)
def test_declaration__that_works(declare: Callable[[], Any]) -> None:
    assert declare() is jobs["called"]


@isolate_apps("myapp")
def test_declaration__function_gets_one_tables_row() -> None:
    class Place(models.Model):
        town = models.TextField()

        class Meta:
            app_label = "myapp"

    class Shop(Place):
        class Meta:
            app_label = "myapp"

    declare = partial(warm_crowd, depends_on={Shop: lambda shop: shop.pk}, fields={Shop: ["town"]})
    assert "or a parent's column, add that model to depends_on" in refusal(declare)


@pytest.mark.parametrize("declare", [lambda: warm("x", 60), lambda: warm(), lambda: warm(key="x")])
def test_declaration__key_is_the_only_argument_without_a_name(declare: Callable[[], Any]) -> None:
    with pytest.raises(TypeError):
        declare()
