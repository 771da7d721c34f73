"""What a library must do here: read a title through its cache, and invalidate by its documented means."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import closing
from typing import ClassVar

from django.conf import settings
from django.db import connection
from django.db.models.signals import post_save

from tests.races.peers.models import Article

TABLE = Article._meta.db_table


def save(article: Article, title: str) -> None:
    article.title = title
    article.save()


def update(article: Article, title: str) -> None:
    Article.objects.filter(pk=article.pk).update(title=title)


def bulk_update(article: Article, title: str) -> None:
    article.title = title
    Article.objects.bulk_update([article], ["title"])


def raw_sql(article: Article, title: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {TABLE} SET title = %s WHERE id = %s", [title, article.pk])


def another_program(article: Article, title: str) -> None:
    """Change the row by a connection that no library here knows of."""
    name = settings.DATABASES["default"]["NAME"]
    with closing(sqlite3.connect(name, isolation_level=None)) as database:
        database.execute(f"UPDATE {TABLE} SET title = ? WHERE id = ?", [title, article.pk])


Change = Callable[[Article, str], None]
CHANGES: dict[str, Change] = {
    "save()": save,
    "update()": update,
    "bulk_update()": bulk_update,
    "raw SQL": raw_sql,
    "another program": another_program,
}


class Means(ABC):
    """One way of using one library."""

    # Else a signal handler of ours tells it of `save()`, and after any other change the caller has to.
    knows_models: ClassVar[bool] = True

    def __init__(self, redis_url: str) -> None:
        self.redis_url = redis_url
        if not self.knows_models:
            post_save.connect(self._on_save, sender=Article)

    @abstractmethod
    def read(self, pk: int) -> str:
        """Return the title, from the cache or else from the database, and then cache it."""

    @abstractmethod
    def invalidate(self, article: Article) -> None:
        """Invalidate by hand, as the documentation says for changes that the library does not notice."""

    def catch_up(self) -> None:  # noqa: B027 - nothing, where no worker of the library looks for changes
        """Do what the library's own workers do after a change."""

    def change_by_hand(self, name: str, article: Article, title: str) -> None:
        """Make a change that the library does not notice, and invalidate."""
        CHANGES[name](article, title)
        self.invalidate(article)

    def _on_save(self, instance: Article, **_kwargs: object) -> None:
        self.invalidate(instance)


def title_of(pk: int) -> str:
    """Load a title: the function that is cached where a library caches functions."""
    return Article.objects.values_list("title", flat=True).get(pk=pk)
