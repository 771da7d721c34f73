"""Transactions that read a snapshot: only PostgreSQL shows them, as SQLite's hold the write lock here."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

from myapp.models import Post
from tests.races.conftest import Filled, in_thread

pytestmark = pytest.mark.django_db(transaction=True)


def test_snapshot__older_than_the_token_stores_nothing(filled: Filled) -> None:
    """A transaction that read before a change sees the old row after it, whatever token it takes."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert Post.objects.get(pk=filled.post.pk).title == "old"
        (changing,) = in_thread(lambda: filled.change("new"))
        changing.join()
        assert Post.objects.get(pk=filled.post.pk).title == "old"
        filled.fill()
        assert filled.cached in (None, "new")
    assert filled.cached in (None, "new")
