"""What watching costs: a wrapper a connection, few records, and no query."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection, connections, transaction

from myapp.models import Comment, Post
from warmer import bypass, invalidate_for
from warmer.bypass.watches import watch_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_connection__new_ones_are_watched_once(raising: None) -> None:
    connection.close()
    Group.objects.count()
    assert len(connection.execute_wrappers) == 1
    connection.close()
    with connection.execute_wrapper(lambda execute, *args: execute(*args)):
        Group.objects.count()
    assert len(connection.execute_wrappers) == 1
    Group.objects.count()


def test_connection__wrapped_while_it_opens_keeps_its_watch(raising: None) -> None:
    """Django takes the last wrapper away when its block ends, whichever it is."""
    fresh = connection.copy()
    counted: list[str] = []
    try:
        with fresh.execute_wrapper(lambda execute, sql, *rest: counted.append(sql) or execute(sql, *rest)):
            fresh.cursor().execute("SELECT 1")
        before = len(counted)
        fresh.cursor().execute("SELECT 2")
        assert len(counted) == before > 0
        assert watch_of(fresh) is not None
        assert len(fresh.execute_wrappers) == 1
    finally:
        fresh.close()


def test_connection__watched_is_let_go(raising: None) -> None:
    fresh = connection.copy()
    fresh.cursor().execute("SELECT 1")
    assert watch_of(fresh) is not None
    gone_with = weakref.ref(fresh)
    fresh.close()
    del fresh
    gc.collect()
    assert gone_with() is None


def test_transaction__long_one_keeps_little(make_post: Any, raising: None) -> None:
    post = make_post()
    watch = watch_of(connections["default"])
    assert watch is not None
    with transaction.atomic():
        for _ in range(50):
            post.save()
            Comment.objects.filter(pk=0).update(body="x")
        for _ in range(50):
            Post.objects.update(title="New")
        invalidate_for(post)
        assert len(watch.journal._inside) < 10
    post.save()
    with transaction.atomic():
        post.save()
        assert len(watch.journal._inside) < 10
    assert watch.journal._open == []


def test_queries__are_not_more(make_post: Any, raising: None, django_assert_num_queries: Any) -> None:
    post = make_post()
    with django_assert_num_queries(1):
        post.save()
    with django_assert_num_queries(1):
        Post.objects.update(title="New")
    bypass.forget()
