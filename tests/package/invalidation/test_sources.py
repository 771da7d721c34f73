"""Sources: the tables of which a change concerns a job, what is recorded there, and how ids follow."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import models
from django.test.utils import isolate_apps

from myapp.models import Comment, Post
from tests.support.jobs import make_spec
from tests.support.tables import OwnModel
from users.models import CustomUser
from warmer.declarations.registry import Registry
from warmer.declarations.spec import Dependency, JobSpec
from warmer.invalidation.sources import sources

Declare = Callable[..., JobSpec]
EVERY_KEY = ((), "")


@pytest.fixture
def declare(empty_registry: Registry) -> Declare:
    """Return a function that declares a job with one dependency."""

    def declare(name: str, model: Any, ids: Any = None, fields: tuple[str, ...] | None = None) -> JobSpec:
        depends_on = (Dependency(model=model, ids=ids, fields=fields),)
        spec = make_spec(f"{name}:{{id}}", name=name, depends_on=depends_on)
        empty_registry.register(SimpleNamespace(spec=spec))  # type: ignore[arg-type]
        return spec

    return declare


def followed() -> dict[str, tuple[tuple[str, ...], str]]:
    """Return, by source, the columns from which the ids follow, and the path from there."""
    return {
        name: (tuple(field.column for field in dependent.fields), dependent.path)
        for name, source in sources().by_name.items()
        for dependent in source.dependents
    }


@pytest.mark.parametrize(
    ("depends_on", "expected"),
    [
        ((Post,), {"myapp_post": EVERY_KEY}),
        (("myapp.Post", "id"), {"myapp_post": (("id",), "")}),
        ((Comment, "post"), {"myapp_comment": (("post_id",), "")}),
        ((Comment, "post_id", ("body",)), {"myapp_comment(body,id,post_id)": (("post_id",), "")}),
        ((Comment, len, ("post",)), {"myapp_comment(id,post_id)": (("id", "post_id"), "")}),
        ((Post, None, ("title",)), {"myapp_post(id,title)": EVERY_KEY}),
        (
            (Comment, "post__author__email"),
            {
                "myapp_comment": (("post_id",), "author__email"),
                "myapp_post(author_id,id)": (("author_id",), "email"),
                "users_customuser(email,id)": (("email",), ""),
            },
        ),
        (
            (CustomUser, "groups", ("email",)),
            {
                "users_customuser(email,id)": (("id",), "groups"),
                "users_customuser_groups(customuser_id,group_id,id)": (("group_id",), ""),
            },
        ),
        (
            (CustomUser, "comments__post_id"),
            {
                "users_customuser": (("id",), "comments__post_id"),
                "myapp_comment(author_id,id,post_id)": (("post_id",), ""),
            },
        ),
    ],
)
def test_sources__of_a_dependency(declare: Declare, depends_on: Any, expected: Any) -> None:
    spec = declare("things", *depends_on)

    assert followed() == expected
    assert sources().names_of[spec] == set(expected)


@pytest.mark.parametrize(
    ("ids", "of_place", "of_licence"),
    [
        ("pk", "id,shop__pk", "number,"),
        ("licence_ptr_id", "id,shop__licence_ptr_id", "number,"),
        ("place_ptr", "id,", "number,shop__place_ptr"),
        ("owner", "owner_id,", "number,shop__owner"),
        ("owner__owner__id", "owner_id,owner__id", "number,shop__owner__owner__id"),
        ("place_ptr__owner__id", "owner_id,id", "number,shop__place_ptr__owner__id"),
        ("size", "id,shop__size", "number,shop__size"),
        (None, ",", ","),
    ],
)
@pytest.mark.parametrize("hidden", [False, True])
def test_sources__path_of_a_child_seen_from_its_parents(
    declare: Declare, ids: Any, of_place: str, of_licence: str, hidden: bool
) -> None:
    with isolate_apps("myapp"):

        class Licence(OwnModel):
            number = models.AutoField(primary_key=True)

        class Place(OwnModel):
            owner = models.ForeignKey("self", on_delete=models.CASCADE)

        class Shop(Licence, Place):
            place_ptr = models.OneToOneField(
                Place, on_delete=models.CASCADE, parent_link=True, related_name="+" if hidden else "shop"
            )
            size = models.IntegerField()

    declare("shops", Shop, ids)
    if hidden and ",shop__" in of_place:
        of_place = ","  # nothing leads there, so any change concerns every key

    found = {name: f"{','.join(columns)},{path}" for name, (columns, path) in followed().items()}
    assert (found["myapp_place"], found["myapp_licence"]) == (of_place, of_licence)
    assert {source.table for source in sources().of_model(Shop)} == {"myapp_shop", "myapp_place", "myapp_licence"}
    assert {source.table for source in sources().of_model(Place)} == {"myapp_place"}
