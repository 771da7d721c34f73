"""Sources: the tables of which a change concerns a job, what is recorded there, and how ids follow."""

from types import SimpleNamespace
from typing import Any

import pytest

from myapp.models import Comment, Post
from tests.support.jobs import make_spec
from users.models import CustomUser
from warmer.declarations.registry import Registry
from warmer.declarations.spec import Dependency
from warmer.invalidation.sources import sources

EVERY_KEY = ((), "")


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
def test_sources__of_a_dependency(empty_registry: Registry, depends_on: Any, expected: Any) -> None:
    model, ids, fields = (*depends_on, None, None)[:3]
    spec = make_spec(depends_on=(Dependency(model=model, ids=ids, fields=fields),))
    empty_registry.register(SimpleNamespace(spec=spec))  # type: ignore[arg-type]
    assert followed() == expected
    assert sources().names_of[spec] == set(expected)
