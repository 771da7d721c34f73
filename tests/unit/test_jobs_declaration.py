"""`@warm` and `@warm_many`: what they make, and that a declaration that cannot work fails at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial, wraps
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.forms import ModelForm

from myapp.models import Comment, Post
from tests.jobs import make_spec
from warmer import DeclarationError, InvalidId, jobs, warm, warm_many
from warmer.jobs import KeyedJob, SingleJob
from warmer.keys import KeyTemplate
from warmer.registry import Registry
from warmer.spec import Dependency

LOCMEM = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.usefixtures("registry")


def lonely() -> str:
    """Load the one value."""
    return "value"


def crowd(ids: Sequence[int]) -> Mapping[int, str]:
    """Load a value for each id."""
    return {id: f"value {id}" for id in ids}


def crowd_ids() -> Sequence[int]:
    return [1, 2]


def post_of(comment: Comment) -> int:
    return comment.post_id


LONELY = f"The job 'lonely' ({__name__}:{lonely.__code__.co_firstlineno})"
CROWD = f"The job 'crowd' ({__name__}:{crowd.__code__.co_firstlineno})"


def warm_lonely(key: Any = "lonely", /, **options: Any) -> SingleJob[str]:
    return warm(key, **options)(lonely)


def warm_crowd(key: Any = "crowd:{id}", /, **options: Any) -> KeyedJob[Mapping[int, str]]:
    return warm_many(key, **{"ids": crowd_ids, **options})(crowd)


def refusal(declare: Callable[[], object]) -> str:
    """Return the message of a declaration that is refused and leaves the registry as it is."""
    before = dict(jobs)
    with pytest.raises(DeclarationError) as caught:
        declare()
    assert dict(jobs) == before
    return str(caught.value)


def test_warm__makes_and_registers_a_job() -> None:
    job = warm_lonely()

    assert isinstance(job, SingleJob)
    assert jobs["lonely"] is job
    assert job.name == job.spec.name == "lonely"


def test_warm__defaults() -> None:
    spec = warm_lonely().spec

    assert spec.key == KeyTemplate.parse("lonely", keyed=False)
    assert spec.loader is lonely
    assert (spec.ids, spec.depends_on) == (None, ())
    assert (spec.timeout, spec.every, spec.jitter) == (
        timedelta(hours=1),
        timedelta(minutes=15),
        timedelta(0),
    )
    assert (spec.cache, spec.queue) == ("default", "warming")
    assert (spec.on_change, spec.required) == ("invalidate", True)
    assert (spec.keyed, spec.batch_size) == (False, 1)


def test_warm_many__defaults() -> None:
    spec = warm_crowd().spec

    assert spec.key == KeyTemplate.parse("crowd:{id}", keyed=True)
    assert spec.loader is crowd
    assert (spec.ids, spec.depends_on) == (crowd_ids, ())
    assert (spec.timeout, spec.every, spec.jitter) == (
        timedelta(hours=1),
        timedelta(minutes=15),
        timedelta(0),
    )
    assert (spec.cache, spec.queue) == ("default", "warming")
    assert (spec.on_change, spec.required) == ("invalidate", True)
    assert (spec.keyed, spec.batch_size) == (True, 500)


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
    spec = warm_crowd(depends_on={Post: "id", "myapp.Comment": post_of}).spec

    assert spec.depends_on == (
        Dependency(model=Post, ids="id"),
        Dependency(model="myapp.Comment", ids=post_of),
    )


def test_depends_on__models_of_a_keyed_job_without_ids() -> None:
    assert warm_crowd(depends_on=[Post]).spec.depends_on == (Dependency(model=Post, ids=None),)


def test_job__is_its_loader_when_called() -> None:
    assert warm_lonely()() == "value"
    assert warm_crowd()([7]) == {7: "value 7"}


@pytest.mark.parametrize(("declare", "loader"), [(warm_lonely, lonely), (warm_crowd, crowd)])
def test_job__looks_like_its_loader(declare: Callable[..., Any], loader: Callable[..., Any]) -> None:
    job = declare(name="mine")

    assert (job.__name__, job.__doc__, job.__module__) == (loader.__name__, loader.__doc__, __name__)
    assert inspect.signature(job) == inspect.signature(loader)


def test_job__shows_its_name_and_key() -> None:
    assert repr(warm_lonely(name="mine")) == "<SingleJob mine 'lonely'>"
    assert repr(warm_crowd()) == "<KeyedJob crowd 'crowd:{id}'>"


def test_key__of_a_keyed_job() -> None:
    job = warm_crowd()

    assert job.key(42) == "crowd:42"
    with pytest.raises(InvalidId):
        job.key("4 2")


def test_warm__single_job_takes_no_ids() -> None:
    with pytest.raises(TypeError, match=r"^'lonely' has one key: call warm\(\) without ids$"):
        warm_lonely().warm([1])  # type: ignore[arg-type]


def test_warm__id_that_makes_no_key_loads_nothing() -> None:
    asked: list[Any] = []
    job = warm_many("crowd:{id}", ids=crowd_ids, name="crowd")(lambda ids: asked.append(ids) or {})

    with pytest.raises(InvalidId, match=r"^'4 2' cannot be an id of crowd:"):
        job.warm(iter([1, "4 2"]))

    assert not asked


def test_warm__takes_ids_that_can_be_read_once() -> None:
    report = warm_crowd().warm(iter([1, 2]))

    assert (report.written, report.keys) == (2, 2)


UNCACHED = "or keys expire before they are refreshed: raise timeout, or lower every."
NO_MODELS = (
    "expected a list of models, e.g. [Post], or a mapping from model to what gives the ids, "
    "e.g. {Post: 'id'}."
)

NO_MODEL = "expected a model, or its label 'app_label.ModelName'."
NO_SOURCE = "expected the path of a field, e.g. 'id', or a function of the instance."


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
            {"refresh_when": 1},
            "refresh_when=1: expected a fraction of timeout above 0 and below 1, e.g. 0.5.",
        ),
        (
            {"refresh_when": 0.15, "every": timedelta(minutes=25), "timeout": timedelta(hours=1)},
            (
                "refresh_when=0.15: keys that live 0:09:00 yet are left alone, and expire before the next "
                "refresh, every=0:25:00 later; expected at least 0.42."
            ),
        ),
        (
            {"refresh_when": "half"},
            "refresh_when='half': expected a fraction of timeout above 0 and below 1, e.g. 0.5.",
        ),
        (
            {"max_batches_per_second": 0},
            "max_batches_per_second=0: expected a number of at least 0.1, or None.",
        ),
    ],
)
def test_declaration__pace_that_cannot_work(options: dict[str, Any], message: str) -> None:
    assert refusal(partial(warm_crowd, **options)) == f"{CROWD}: {message}"


def test_declaration__ids_of_a_change_for_a_single_job() -> None:
    assert refusal(partial(warm_lonely, depends_on={Post: "id"})) == (
        f"{LONELY}: a job with one key needs no ids of a change: write depends_on=[Model, ...]."
    )


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


def test_declaration__name_of_another_job() -> None:
    warm_lonely()

    assert refusal(partial(warm_lonely, "other")) == (
        f"{LONELY} has the name of the one declared at {jobs['lonely'].spec.declared_at}: "
        "give one of them another name=."
    )


def test_declaration__name_that_no_job_may_have() -> None:
    message = refusal(lambda: warm("other", name="top ten")(lonely))

    assert message.startswith(f"The job 'top ten' ({__name__}:")
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
    with pytest.raises(TypeError, match="positional"):
        warm("lonely", "name")  # type: ignore[misc]
    with pytest.raises(TypeError, match="ids"):
        warm_many("crowd:{id}")  # type: ignore[call-arg]


def test_registry_fixture__leaves_no_job_behind(registry: Registry) -> None:
    # The other tests of this file declare jobs of these names, in any order.
    assert {"lonely", "crowd", "mine"}.isdisjoint(registry)
    assert {"popular_posts", "posts", "user_profiles"} <= set(registry)


def test_empty_registry_fixture(empty_registry: Registry) -> None:
    assert empty_registry is jobs
    assert dict(jobs) == {}
    assert make_spec().name == "things"
    assert dict(jobs) == {}
