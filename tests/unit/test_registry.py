"""The registry: jobs by name, what two jobs may not share, and what they may depend on."""

from __future__ import annotations

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
from tests.jobs import make_spec
from users.models import CustomUser
from warmer.declarations.registry import Registry
from warmer.declarations.spec import Dependency
from warmer.exceptions import DeclarationError, UnknownJob

LOCMEM = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}


@pytest.fixture
def own() -> Registry:
    """A registry of the test's own: no signal receiver knows of it."""
    return Registry()


def declared(name: str = "things", key: str = "thing:{id}", *depends_on: Dependency, **options: Any) -> Any:
    """Return a job as far as the registry looks at it."""
    spec = make_spec(key, name=name, depends_on=depends_on, declared_at=f"{name}.py:1", **options)
    return SimpleNamespace(spec=spec)


def test_registry__is_a_mapping_of_jobs(own: Registry) -> None:
    assert isinstance(own, Mapping)
    assert (len(own), list(own), own.specs(), bool(own)) == (0, [], [], False)
    things, more = declared("things", "thing:{id}"), declared("more", "more")
    own.register(things)
    own.register(more)

    assert own["things"] is things
    assert list(own) == ["things", "more"]
    assert dict(own) == {"things": things, "more": more}
    assert len(own) == 2
    assert own.specs() == [things.spec, more.spec]
    assert "things" in own
    assert "thing" not in own


def test_getitem__unknown_job_names_the_nearest(own: Registry) -> None:
    own.register(declared("user_profiles"))

    with pytest.raises(UnknownJob, match=r"^There is no job 'profiles'\. Did you mean user_profiles\?$"):
        own["profiles"]


def test_get__unknown_job(own: Registry) -> None:
    assert own.get("nothing") is None


def test_unregister__forgets_the_job(own: Registry) -> None:
    own.register(declared("things"))
    before = own.version

    own.unregister("things")

    assert "things" not in own
    assert own.version > before
    own.register(declared("things"))


def test_register__name_of_another_job(own: Registry) -> None:
    first = declared("things", "thing:{id}")
    own.register(first)
    second = declared("things", "other:{id}")

    with pytest.raises(DeclarationError) as caught:
        own.register(second)

    assert str(caught.value) == (
        "The job 'things' (things.py:1) has the name of the one declared at things.py:1: "
        "give one of them another name=."
    )
    assert own["things"] is first


def test_register__keys_of_another_job(own: Registry) -> None:
    own.register(declared("things", "thing:{id}"))

    with pytest.raises(DeclarationError) as caught:
        own.register(declared("best", "thing:best"))

    assert str(caught.value) == (
        "The job 'best' (best.py:1) has the key 'thing:best', which can be the same as 'thing:{id}' of "
        "'things' (things.py:1): give one of them another key."
    )
    assert list(own) == ["things"]


def test_register__same_keys_in_another_cache(own: Registry, settings: Any) -> None:
    settings.CACHES = {**settings.CACHES, "other": LOCMEM}
    own.register(declared("things", "thing:{id}"))

    own.register(declared("more", "thing:{id}", cache="other"))

    assert len(own) == 2


REDIS = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://cache:6379/1"}
FILES = {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache"}
DJANGOS_REDIS = "django.core.cache.backends.redis.RedisCache"
MEMCACHED = {"BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache", "LOCATION": "a:1;b:2"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (REDIS, REDIS),
        (REDIS, REDIS | {"BACKEND": DJANGOS_REDIS}),
        (REDIS, REDIS | {"LOCATION": ["redis://cache:6379/1", "redis://replica:6379/1"]}),
        (REDIS, REDIS | {"LOCATION": "redis://cache:6379/1,redis://replica:6379/1"}),
        (REDIS, REDIS | {"LOCATION": "redis://:secret@CACHE/1"}),
        (REDIS, REDIS | {"LOCATION": "redis://cache?db=1"}),
        (REDIS, REDIS | {"LOCATION": "redis://cache", "OPTIONS": {"db": 1}}),
        (REDIS, REDIS | {"LOCATION": "redis://cache", "OPTIONS": {"CONNECTION_POOL_KWARGS": {"db": 1}}}),
        (REDIS, REDIS | {"VERSION": 1, "KEY_PREFIX": "", "KEY_FUNCTION": None, "TIMEOUT": 5}),
        (REDIS | {"LOCATION": "unix:///run/redis"}, REDIS | {"LOCATION": "unix:///run/redis?db=0"}),
        (LOCMEM, LOCMEM),
        (FILES | {"LOCATION": "/cache"}, FILES | {"LOCATION": Path("/cache")}),
        (MEMCACHED, MEMCACHED | {"LOCATION": ["b:2", "a:1"]}),
        (MEMCACHED, MEMCACHED | {"BACKEND": "django.core.cache.backends.memcached.PyLibMCCache"}),
    ],
)
def test_register__same_keys_in_another_alias_of_one_cache(
    own: Registry, settings: Any, one: dict[str, Any], other: dict[str, Any]
) -> None:
    settings.CACHES = {"default": one, "other": other}
    own.register(declared("things", "thing:{id}"))

    with pytest.raises(DeclarationError) as caught:
        own.register(declared("more", "thing:1", cache="other"))

    assert str(caught.value) == (
        "The job 'more' (more.py:1) has the key 'thing:1', which can be the same as 'thing:{id}' of "
        "'things' (things.py:1) in 'default', which is the same cache: give one of them another key."
    )
    own.register(declared("different", "different", cache="other"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (REDIS, REDIS | {"LOCATION": "redis://cache:6379/2"}),
        (REDIS, REDIS | {"LOCATION": "redis://cache:6380/1"}),
        (REDIS, REDIS | {"LOCATION": "redis://other:6379/1"}),
        (REDIS, REDIS | {"LOCATION": "redis://cache:what"}),
        (REDIS, REDIS | {"OPTIONS": {"SENTINELS": [("other", 26379)]}}),
        (REDIS, REDIS | {"KEY_PREFIX": "site"}),
        (REDIS, REDIS | {"VERSION": 2}),
        (REDIS, REDIS | {"KEY_FUNCTION": "myapp.keys.make"}),
        (REDIS, LOCMEM),
        (LOCMEM, LOCMEM | {"LOCATION": "another"}),
        (MEMCACHED, MEMCACHED | {"LOCATION": "a:1"}),
        *[({"BACKEND": "django.core.cache.backends.dummy.DummyCache"},) * 2],
    ],
)
def test_register__same_keys_in_two_caches(
    own: Registry, settings: Any, one: dict[str, Any], other: dict[str, Any]
) -> None:
    settings.CACHES = {"default": one, "other": other}
    own.register(declared("things", "thing:{id}"))

    own.register(declared("more", "thing:{id}", cache="other"))

    assert len(own) == 2


@pytest.mark.parametrize("label", ["myapp.Nothing", "nothing.Post", "Post", "", "a.b.c"])
def test_register__label_of_no_model(own: Registry, label: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        own.register(declared("things", "thing:{id}", Dependency(model=label)))

    message = str(caught.value)
    assert message.startswith(f"The job 'things' (things.py:1) depends on {label!r}, which is not a model: ")
    assert message.endswith(". Write the class, or 'app_label.ModelName'.")
    assert "things" not in own


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (Post, "id"),
        (Post, "pk"),
        ("myapp.Post", "id"),
        (Post, "author"),
        (Post, "author_id"),
        (Post, "author__email"),
        (Post, "author__pk"),
        (Comment, "post__author__groups__id"),
        (CustomUser, "posts__id"),
        (CustomUser, "comments__post__id"),
    ],
)
def test_register__path_of_a_field(own: Registry, model: Any, path: str) -> None:
    job = declared("things", "thing:{id}", Dependency(model=model, ids=path))
    own.register(job)

    found = apps.get_model(model) if isinstance(model, str) else model
    assert own.dependencies(job.spec) == (Dependency(model=found, ids=path),)


@pytest.mark.parametrize(
    ("model", "path", "without", "step"),
    [
        (Post, "identity", "myapp.Post", "identity"),
        ("myapp.Post", "author__nick", "users.CustomUser", "nick"),
        (Comment, "post__author__groups__size", "auth.Group", "size"),
        (Post, "", "myapp.Post", ""),
        (Post, "author__", "users.CustomUser", ""),
        (Post, "author.id", "myapp.Post", "author.id"),
    ],
)
def test_register__path_of_no_field(own: Registry, model: Any, path: str, without: str, step: str) -> None:
    label = "myapp.Comment" if model is Comment else "myapp.Post"

    with pytest.raises(DeclarationError) as caught:
        own.register(declared("things", "thing:{id}", Dependency(model=model, ids=path)))

    assert str(caught.value) == (
        f"The job 'things' (things.py:1) takes the ids of a changed {label} from {path!r}, but {without} "
        f"has no field {step!r}. Name a field, e.g. 'id' or 'post_id', or give a function of the row."
    )
    assert "things" not in own


@pytest.mark.parametrize("path", ["title__views", "views__author"])
def test_register__path_through_a_plain_column(own: Registry, path: str) -> None:
    with pytest.raises(DeclarationError, match=path):
        own.register(declared("things", "thing:{id}", Dependency(model=Post, ids=path)))


@isolate_apps("tests.unit")
@pytest.mark.parametrize(
    ("path", "step", "kind", "instead"),
    [
        ("target", "target", "GenericForeignKey", "Write 'number', where the id is, or give"),
        ("target__id", "target", "GenericForeignKey", "Write 'number', where the id is, or give"),
        ("lines__target", "target", "GenericForeignKey", "Write 'lines__number', where the id is, or give"),
        ("lines__pk", "pk", "CompositePrimaryKey", "Name a column, or give"),
    ],
)
def test_register__path_of_what_is_no_column(
    own: Registry, path: str, step: str, kind: str, instead: str
) -> None:
    class Tag(models.Model):
        kind = models.ForeignKey("contenttypes.ContentType", on_delete=models.CASCADE)
        number = models.PositiveIntegerField()
        target = GenericForeignKey("kind", "number")

        class Meta:
            app_label = "unit"

    class Line(models.Model):
        pk = models.CompositePrimaryKey("tag", "place")
        tag = models.ForeignKey(Tag, on_delete=models.CASCADE, related_name="lines")
        place = models.IntegerField()
        kind = models.ForeignKey("contenttypes.ContentType", on_delete=models.CASCADE)
        number = models.PositiveIntegerField()
        target = GenericForeignKey("kind", "number")

        class Meta:
            app_label = "unit"

    with pytest.raises(DeclarationError) as caught:
        own.register(declared("things", "thing:{id}", Dependency(model=Tag, ids=path)))

    assert str(caught.value) == (
        f"The job 'things' (things.py:1) takes the ids of a changed unit.Tag from {path!r}, but {step!r} is "
        f"a {kind}, which has no column of its own. {instead} a function of the row."
    )
    assert "things" not in own


@pytest.mark.parametrize("model", [AbstractUser, User, "auth.User"])
def test_register__model_that_never_has_rows(own: Registry, model: Any) -> None:
    # Abstract, or swapped for AUTH_USER_MODEL: nothing would ever invalidate the job.
    with pytest.raises(DeclarationError, match="things"):
        own.register(declared("things", "thing:{id}", Dependency(model=model)))


def test_check_models__of_jobs_that_were_declared_before_the_models(
    own: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as early:
        early.setattr(apps, "models_ready", False)
        own.register(declared("things", "thing:{id}", Dependency(model="myapp.Post", ids="id")))
        own.register(declared("more", "more:{id}", Dependency(model="myapp.Post", ids="identity")))

    with pytest.raises(DeclarationError, match=r"^The job 'more' \(more\.py:1\) .* no field 'identity'"):
        own.check_models()

    own.unregister("more")
    own.check_models()
