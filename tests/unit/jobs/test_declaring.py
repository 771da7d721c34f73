"""A declaration that cannot work fails at once, and says what to write."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import models
from django.forms import ModelForm
from django.test.utils import isolate_apps

from myapp.models import Comment, Post
from tests.unit.jobs.declarations import CROWD, HOUR, LONELY, MINUTE, lonely, refusal, warm_crowd, warm_lonely
from warmer import DeclarationError, jobs, warm, warm_many

pytestmark = pytest.mark.usefixtures("registry")

UNCACHED = "or keys expire before they are refreshed: raise timeout, or lower every."
NO_MODELS = (
    "expected a list of models, e.g. [Post], or a mapping from model to what gives the ids, "
    "e.g. {Post: 'id'}."
)
NO_MODEL = "expected a model, or its label 'app_label.ModelName'."
NO_SOURCE = "expected the path of a field, e.g. 'id', or a function of the instance."
FIELDS_EXAMPLE = "e.g. fields={User: ['email', 'first_name']}."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depends_on": Post}, f": depends_on={Post!r}: {NO_MODELS}"),
        ({"depends_on": "myapp.Post"}, f": depends_on='myapp.Post': {NO_MODELS}"),
        ({"depends_on": [Post, 5]}, f": depends_on names 5: {NO_MODEL}"),
        ({"depends_on": {int: "id"}}, f": depends_on names <class 'int'>: {NO_MODEL}"),
        ({"depends_on": {Post: None}}, f": depends_on maps {Post!r} to None: {NO_SOURCE}"),
        ({"depends_on": {"myapp.Post": ["id"]}}, f": depends_on maps 'myapp.Post' to ['id']: {NO_SOURCE}"),
        (
            {"timeout": MINUTE, "every": MINUTE},
            f": timeout=0:01:00 must be longer than every=0:01:00, {UNCACHED}",
        ),
        ({"every": 2 * HOUR}, f": timeout=1:00:00 must be longer than every=2:00:00, {UNCACHED}"),
        ({"timeout": 3600}, ": timeout=3600: expected a timedelta, e.g. timeout=timedelta(minutes=15)."),
        ({"every": timedelta(0)}, ": every=0:00:00: expected at least a second."),
        ({"jitter": HOUR}, ": jitter=1:00:00 must be shorter than timeout=1:00:00."),
        ({"cache": "pages"}, ": there is no cache 'pages': CACHES has 'default'."),
        ({"on_change": "delete"}, ": on_change='delete': expected 'invalidate' or 'refresh'."),
        (
            {"depends_on": [Post], "fields": ["title"]},
            f": fields=['title']: expected a mapping from model to its fields, {FIELDS_EXAMPLE}",
        ),
        (
            {"depends_on": [Post], "fields": {int: ["title"]}},
            f": fields names <class 'int'>: expected a model, {FIELDS_EXAMPLE}",
        ),
        (
            {"depends_on": [Post], "fields": {Post: "title"}},
            f": fields maps myapp.Post to 'title': expected a list of names, {FIELDS_EXAMPLE}",
        ),
        (
            {"depends_on": [Post], "fields": {Post: []}},
            ": fields maps myapp.Post to no field: name those that the loader reads.",
        ),
        (
            {"depends_on": [Post], "fields": {Comment: ["body"]}},
            ": fields names myapp.Comment, which depends_on does not: name it there, too.",
        ),
        (
            {"depends_on": [Post], "fields": {Post: ["titel"]}},
            " names 'titel' in fields, which is no column of myapp.Post: did you mean 'title'?",
        ),
    ],
)
@pytest.mark.parametrize(("declare", "job"), [(warm_lonely, LONELY), (warm_crowd, CROWD)])
def test_declaration__option_that_cannot_work(
    declare: Callable[..., object], job: str, options: dict[str, Any], message: str
) -> None:
    assert refusal(partial(declare, **options)) == job + message


@pytest.mark.parametrize(("declare", "job"), [(warm_lonely, LONELY), (warm_crowd, CROWD)])
def test_declaration__depends_on_no_model(declare: Callable[..., object], job: str) -> None:
    message = refusal(partial(declare, depends_on=["myapp.Nothing"]))

    assert message.startswith(
        f"{job} depends on 'myapp.Nothing', which is no model: App 'myapp' doesn't have"
    )
    assert message.endswith(". Write the class, or 'app_label.ModelName'.")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "lonely:{id}",
            (
                "the key 'lonely:{id}' holds {id}, but @warm declares a single key; "
                "a job with a key for each id is declared by @warm_many."
            ),
        ),
        (None, "a key is a text such as 'popular_posts', not None."),
        ("my key", "the key 'my key' may not hold blanks, control characters or braces other than {id}."),
        ("k" * 201, f"the key '{'k' * 201}' is longer than 200 bytes."),
    ],
)
def test_declaration__key_that_a_single_job_cannot_have(key: Any, message: str) -> None:
    assert refusal(partial(warm_lonely, key)) == f"{LONELY}: {message}"


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "crowd",
            (
                "the key 'crowd' must hold {id} exactly once, e.g. 'user:{id}:profile'; "
                "a job with one key is declared by @warm."
            ),
        ),
        (None, "a key is a text such as 'popular_posts', not None."),
        ("my {id}", "the key 'my {id}' may not hold blanks, control characters or braces other than {id}."),
    ],
)
def test_declaration__key_that_a_keyed_job_cannot_have(key: Any, message: str) -> None:
    assert refusal(partial(warm_crowd, key)) == f"{CROWD}: {message}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"ids": [1, 2]},
            ": ids=[1, 2]: expected a function that gives the ids, e.g. top_user_ids, or a queryset.",
        ),
        ({"batch_size": 0}, ": batch_size=0: expected a whole number of at least 1."),
        (
            {"depends_on": {Comment: "article_id"}},
            (
                " takes the ids of a changed myapp.Comment from 'article_id', but myapp.Comment has no field "
                "'article_id'. Name a field, e.g. 'id' or 'post_id', or give a function of the instance."
            ),
        ),
    ],
)
def test_declaration__option_of_a_keyed_job_that_cannot_work(options: dict[str, Any], message: str) -> None:
    assert refusal(partial(warm_crowd, **options)) == CROWD + message


def test_declaration__ids_that_end_after_one_run() -> None:
    message = refusal(partial(warm_crowd, ids=(id for id in range(3))))

    assert message.startswith(f"{CROWD}: ids=<generator object")
    assert message.endswith(
        "> would be at its end after one run: give the function that makes it, without calling it."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"refresh_below": 1},
            "refresh_below=1: expected a fraction of timeout above 0 and below 1, e.g. 0.5.",
        ),
        (
            {"refresh_below": 0.15, "every": timedelta(minutes=25), "timeout": timedelta(hours=1)},
            (
                "refresh_below=0.15: keys with 0:09:00 left are skipped and expire before the next "
                "refresh, every=0:25:00 later; expected at least 0.42."
            ),
        ),
        (
            {"refresh_below": "half"},
            "refresh_below='half': expected a fraction of timeout above 0 and below 1, e.g. 0.5.",
        ),
        (
            {"max_batches_per_second": 0},
            "max_batches_per_second=0: expected a number of at least 0.1, or None.",
        ),
    ],
)
def test_declaration__pace_that_cannot_work(options: dict[str, Any], message: str) -> None:
    assert refusal(partial(warm_crowd, **options)) == f"{CROWD}: {message}"


def test_declaration__field_without_a_near_name_lists_all() -> None:
    message = refusal(partial(warm_crowd, depends_on={Post: "id"}, fields={Post: ["zzz"]}))

    assert "myapp.Post has the fields author, author_id, " in message


def post_of(comment: Any) -> int:
    return comment.post_id  # type: ignore[no-any-return]


def test_declaration__function_without_fields_needs_signals(settings: Any) -> None:
    declare = partial(warm_crowd, depends_on={Comment: post_of})
    settings.WARMER_CAPTURE = "triggers"
    assert "write fields={Comment: [...]}" in refusal(declare)

    settings.WARMER_CAPTURE = "signals"
    assert declare().spec.depends_on[0].fields is None


@pytest.mark.parametrize("capture", ["triggers", "signals"])
def test_declaration__fields_of_a_function(settings: Any, capture: str) -> None:
    settings.WARMER_CAPTURE = capture
    job = warm_crowd(depends_on={Comment: post_of, "myapp.Post": "id"}, fields={"myapp.Comment": ["post_id"]})

    assert [each.fields for each in job.spec.depends_on] == [("post_id",), None]


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
    assert "which myapp.Shop inherits from another table" in refusal(declare)


def test_declaration__ids_of_a_change_for_a_single_job() -> None:
    assert refusal(partial(warm_lonely, depends_on={Post: "id"})) == (
        f"{LONELY}: a job with one key needs no ids of a change: write depends_on=[Model, ...]."
    )


def test_declaration__name_of_another_job() -> None:
    warm_lonely()

    assert refusal(partial(warm_lonely, "other")) == (
        f"{LONELY} has the name of the one declared at {jobs['lonely'].spec.declared_at}: "
        "give one of them another name=."
    )


def test_declaration__name_that_no_job_may_have() -> None:
    message = refusal(lambda: warm("other", name="top ten")(lonely))

    assert message.startswith(f"The job 'top ten' ({lonely.__module__}:")
    assert message.endswith(": give name=.")


@pytest.mark.parametrize(
    ("loader", "name", "where"),
    [
        (lambda: 1, "<lambda>", rf"{__name__}:\d+"),
        (partial(lonely), "", r"functools:\?"),
    ],
)
def test_declaration__loader_without_a_name(loader: Any, name: str, where: str) -> None:
    with pytest.raises(DeclarationError, match=rf"^The job '{name}' \({where}\): .* give name=\.$"):
        warm("other")(loader)

    assert warm("other", name="named")(loader).name == "named"


def test_declaration__keys_of_another_job() -> None:
    job = warm_crowd()

    assert refusal(lambda: warm("crowd:all")(lonely)) == (
        f"{LONELY} has the key 'crowd:all', which can be the same as 'crowd:{{id}}' of 'crowd' "
        f"({job.spec.declared_at}): give one of them another key."
    )


def test_declaration__keys_of_one_of_the_projects_jobs() -> None:
    message = refusal(lambda: warm("user:me:profile")(lonely))

    assert "can be the same as 'user:{id}:profile' of 'user_profiles' (users.warming:" in message


@pytest.mark.parametrize(("decorator", "name"), [(warm_lonely, "warm"), (warm_crowd, "warm_many")])
def test_declaration__bare_decorator(decorator: Callable[..., object], name: str) -> None:
    # `@warm` without a call takes the loader for its key, and would declare nothing at all.
    assert refusal(partial(decorator, lonely)) == (
        f"@{name} on lonely has no arguments: a key is a text, e.g. @{name}('popular_posts')."
    )


def test_declaration__depends_on_a_form() -> None:
    class PostForm(ModelForm):
        class Meta:
            model = Post
            fields = ("title",)

    message = refusal(partial(warm_lonely, depends_on=[PostForm]))

    assert "expected a model, or its label 'app_label.ModelName'" in message


def test_declaration__options_are_named() -> None:
    with pytest.raises(DeclarationError, match="'name' is given without a name, as only the key is"):
        warm("lonely", "name")  # type: ignore[misc]
    with pytest.raises(DeclarationError, match="ids is missing"):
        warm_many("crowd:{id}")  # type: ignore[call-arg]
