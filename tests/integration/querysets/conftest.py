"""Fixtures of the bulk methods' tests: jobs on what moves, and models with `WarmingManager`."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import models

from myapp.models import Post
from tests.integration.keyed import job
from tests.integration.tables import tables_of
from warmer.querysets import WarmingManager


@pytest.fixture
def one_outbox(settings: Any) -> None:
    """Count queries without those of the outbox."""
    settings.WARMER_DURABLE_INVALIDATION = False


@pytest.fixture
def by_author() -> Any:
    """A job whose keys are authors' ids, which a post can move between."""
    return job("author:{id}:posts", {Post: "author_id"})


@pytest.fixture
def shop() -> Iterator[Any]:
    """Models with `WarmingManager` and tables of their own."""

    class Shelf(models.Model):
        name = models.CharField(max_length=20)

        class Meta:
            app_label = "myapp"

    class Tag(models.Model):
        class Meta:
            app_label = "myapp"

    class Book(models.Model):
        shelf = models.ForeignKey(Shelf, on_delete=models.SET_NULL, null=True, related_name="books")
        code = models.CharField(max_length=20, unique=True)
        title = models.CharField(max_length=20, default="")
        rank = models.IntegerField(default=0)
        tags = models.ManyToManyField(Tag)

        objects = WarmingManager()

        class Meta:
            app_label = "myapp"
            base_manager_name = "objects"

    class Novel(Book):
        author = models.CharField(max_length=20, default="")

        objects = WarmingManager()

        class Meta:
            app_label = "myapp"

    class Lent(models.Model):
        shelf = models.ForeignKey(Shelf, on_delete=models.CASCADE)
        place = models.IntegerField()
        reader = models.IntegerField(null=True)

        objects = WarmingManager()

        class Meta:
            app_label = "myapp"
            unique_together = [("shelf", "place")]

    class OldBook(Book):
        class Meta:
            app_label = "myapp"
            proxy = True

    with tables_of(Shelf, Tag, Book, Novel, Lent, OldBook):
        yield SimpleNamespace(Shelf=Shelf, Tag=Tag, Book=Book, Novel=Novel, Lent=Lent, OldBook=OldBook)
