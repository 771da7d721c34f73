"""The registry: jobs by name, what two jobs may not share, and what they may depend on."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import AbstractUser, User
from django.contrib.contenttypes.fields import GenericForeignKey
from django.db import models
from django.test.utils import isolate_apps

from myapp.models import Comment, Post
from tests.support.jobs import make_spec
from users.models import CustomUser
from warmer.declarations.registry import Registry
from warmer.declarations.spec import Dependency
from warmer.exceptions import DeclarationError, UnknownJob

LOCMEM = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
REDIS = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://cache:6379/1"}
FILES = {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache"}
DUMMY = {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
DJANGOS_REDIS = "django.core.cache.backends.redis.RedisCache"
MEMCACHED = {"BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache", "LOCATION": "a:1;b:2"}


@pytest.fixture
def own() -> Registry:
    """A registry of the test's own: no signal receiver knows of it."""
    return Registry()


def declared(name: str = "things", key: str = "thing:{id}", *depends_on: Dependency, **options: Any) -> Any:
    """Return a job as far as the registry looks at it."""
    spec = make_spec(key, name=name, depends_on=depends_on, declared_at=f"{name}.py:1", **options)
    return SimpleNamespace(spec=spec)


def refusal(registry: Registry, job: Any) -> str:
    """Return why the registry refuses a job, which leaves it as it is."""
    before = dict(registry)
    with pytest.raises(DeclarationError) as caught:
        registry.register(job)
    assert dict(registry) == before
    return str(caught.value)


def test_registry__is_a_mapping_of_jobs(own: Registry) -> None:
    assert isinstance(own, Mapping)
    assert not own
    things, more = declared("things", "thing:{id}"), declared("more", "more")
    own.register(things)
    own.register(more)
    assert list(own.items()) == [("things", things), ("more", more)]
    assert own.specs() == [things.spec, more.spec]
    assert own.get("nothing") is None
    with pytest.raises(UnknownJob, match="things"):
        own["thing"]
    before = own.version
    own.unregister("things")
    assert "things" not in own
    assert own.version > before
    own.register(declared("things", "thing:{id}"))


def test_register__name_or_keys_of_another_job(own: Registry) -> None:
    own.register(declared("things", "thing:{id}"))
    assert "another name" in refusal(own, declared("things", "other:{id}"))
    said = refusal(own, declared("best", "thing:best"))
    for part in ("'best' (best.py:1)", "'thing:best'", "'thing:{id}' of 'things' (things.py:1)", "another key"):
        assert part in said


ONE_CACHE: list[Any] = [
    REDIS,
    REDIS | {"BACKEND": DJANGOS_REDIS},
    REDIS | {"VERSION": 1, "KEY_PREFIX": "", "KEY_FUNCTION": None, "TIMEOUT": 5},
    (LOCMEM, LOCMEM),
    (FILES | {"LOCATION": "/cache"}, FILES | {"LOCATION": Path("/cache")}),
    (MEMCACHED, MEMCACHED | {"BACKEND": "django.core.cache.backends.memcached.PyLibMCCache"}),
]
TWO_CACHES: list[Any] = [
    REDIS | {"LOCATION": "redis://cache:6379/2"},
    REDIS | {"LOCATION": "redis://cache:6380/1"},
    REDIS | {"LOCATION": "redis://other:6379/1"},
    REDIS | {"OPTIONS": {"SENTINELS": [("other", 26379)]}},
    REDIS | {"OPTIONS": {"db": 2}},
    REDIS | {"OPTIONS": {"CONNECTION_POOL_KWARGS": {"db": 2}}},
    REDIS | {"KEY_PREFIX": "site"},
    REDIS | {"VERSION": 2},
    REDIS | {"KEY_FUNCTION": "myapp.keys.make"},
    LOCMEM,
    (LOCMEM, LOCMEM | {"LOCATION": "another"}),
    (MEMCACHED, MEMCACHED | {"LOCATION": "a:1"}),
    (DUMMY, DUMMY),
]


@pytest.mark.parametrize(
    ("other", "is_shared"), [*[(each, True) for each in ONE_CACHE], *[(each, False) for each in TWO_CACHES]]
)
def test_register__same_keys_in_another_alias(own: Registry, settings: Any, other: Any, is_shared: bool) -> None:
    one, other = other if isinstance(other, tuple) else (REDIS, other)
    settings.CACHES = {"default": one, "other": other}
    own.register(declared("things", "thing:{id}"))
    more = declared("more", "thing:1", cache="other")
    if is_shared:
        assert "in 'default', which is the same cache" in refusal(own, more)
        more = declared("more", "different", cache="other")
    own.register(more)
    assert len(own) == 2


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (Post, "id"),
        (Post, "pk"),
        ("myapp.Post", "id"),
        (Post, "author"),
        (Post, "author_id"),
        (Post, "author__pk"),
        (Comment, "post__author__groups__id"),
        (CustomUser, "comments__post__id"),
    ],
)
def test_register__path_of_a_field(own: Registry, model: Any, path: str) -> None:
    job = declared("things", "thing:{id}", Dependency(model=model, ids=path))
    own.register(job)
    found = apps.get_model(model) if isinstance(model, str) else model
    assert own.dependencies(job.spec) == (Dependency(model=found, ids=path),)


@pytest.mark.parametrize(
    ("model", "path", "why"),
    [
        *[(label, None, f"{label!r}, which is not a model") for label in ("myapp.Nothing", "Post", "", "a.b.c")],
        ("Post", None, "not a model. Write the class"),
        # Abstract, or swapped for AUTH_USER_MODEL: nothing would ever invalidate the job.
        *[(model, None, "things") for model in (AbstractUser, User, "auth.User")],
        (Post, "identity", "myapp.Post has no field 'identity'"),
        ("myapp.Post", "author__nick", "users.CustomUser has no field 'nick'"),
        (Comment, "post__author__groups__size", "auth.Group has no field 'size'"),
        (Post, "idd", "did you mean id?"),
        (Post, "coments__id", "did you mean comments"),
        (Comment, "post__auther_id", "myapp.Post has no field 'auther_id': did you mean author_id"),
        (Post, "", "myapp.Post has no field ''"),
        (Post, "author__", "users.CustomUser has no field ''"),
        (Post, "author.id", "myapp.Post has no field 'author.id'"),
        (Post, "title__views", "title"),  # a plain column leads nowhere
        (Post, "views__author", "views"),
    ],
)
def test_register__dependency_that_cannot_work(own: Registry, model: Any, path: str, why: str) -> None:
    said = refusal(own, declared("things", "thing:{id}", Dependency(model=model, ids=path)))
    assert why in said


@isolate_apps("tests.package")
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("target", "'target' is a GenericForeignKey"),
        ("lines__target__id", "'target' is a GenericForeignKey"),
        ("lines__pk", "'pk' is a CompositePrimaryKey"),
    ],
)
def test_register__path_of_what_is_no_column(own: Registry, path: str, kind: str) -> None:
    class Generic(models.Model):
        kind = models.ForeignKey("contenttypes.ContentType", on_delete=models.CASCADE)
        number = models.PositiveIntegerField()
        target = GenericForeignKey("kind", "number")

        class Meta:
            app_label = "package"
            abstract = True

    class Tag(Generic):
        pass

    class Line(Generic):
        pk = models.CompositePrimaryKey("tag", "place")
        tag = models.ForeignKey(Tag, on_delete=models.CASCADE, related_name="lines")
        place = models.IntegerField()

    assert kind in refusal(own, declared("things", "thing:{id}", Dependency(model=Tag, ids=path)))


def test_check_models__of_jobs_that_were_declared_before_the_models(
    own: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as early:
        early.setattr(apps, "models_ready", False)
        own.register(declared("things", "thing:{id}", Dependency(model="myapp.Post", ids="id")))
        own.register(declared("more", "more:{id}", Dependency(model="myapp.Post", ids="identity")))
    with pytest.raises(DeclarationError, match=r"'more' .* no field 'identity'"):
        own.check_models()
    own.unregister("more")
    own.check_models()


@pytest.mark.parametrize(
    ("name", "known", "named"),
    [
        ("user_profile", ["posts", "user_profiles", "popular_posts"], "mean user_profiles?"),
        ("xyz", iter(["user_profiles", "popular_posts"]), "popular_posts, user_profiles"),
        ("xyz", [], "declare one"),
    ],
)
def test_unknown_job__names_the_nearest_or_all(name: str, known: list[str], named: str) -> None:
    error = UnknownJob(name, known)
    assert named in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (UnknownJob, str(error))
