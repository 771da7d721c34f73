"""Invalidations that the project asks for."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from myapp.models import Post
from tests.integration.keyed import cached, gone
from warmer import invalidate_for, warm, warm_many

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_invalidate_for__queryset_and_instances(make_post: Any) -> None:
    posts = [make_post() for _ in range(3)]
    keys = [f"post:{post.pk}" for post in posts]
    cached(*keys, "popular_posts")
    some = Post.objects.filter(pk__in=[posts[0].pk, posts[1].pk])
    some.update(title="Updated")
    assert gone(*keys, "popular_posts") == set()
    invalidate_for(some)
    assert gone(*keys, "popular_posts") == {*keys[:2], "popular_posts"}
    invalidate_for([posts[2]])
    assert gone(keys[2]) == {keys[2]}
    cached(keys[0])
    invalidate_for(posts[0])
    assert gone(keys[0]) == {keys[0]}


def test_invalidate_for__inside_a_transaction_waits_for_the_commit(make_post: Any) -> None:
    post = make_post()
    cached(f"post:{post.pk}")
    with transaction.atomic():
        invalidate_for(post)
        assert gone(f"post:{post.pk}") == set()
    assert gone(f"post:{post.pk}") == {f"post:{post.pk}"}


def test_invalidate__by_hand() -> None:
    single: Any = warm("one", name="one")(lambda: 1)
    keyed: Any = warm_many("many:{id}", ids=list, name="many")(dict)
    cached("one", "many:1", "many:2", "many:3")
    single.invalidate()
    keyed.invalidate([1])
    assert gone("one", "many:1", "many:2") == {"one", "many:1"}
    keyed.invalidate()
    assert gone("many:2", "many:3") == {"many:2", "many:3"}
