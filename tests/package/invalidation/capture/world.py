"""A small world of models, with a job for each way in which ids follow from rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.cache import cache
from django.core.management.color import no_style
from django.db import connection, models

from tests.support.tables import tables_of
from warmer import jobs, warm_many
from warmer.invalidation import triggers
from warmer.invalidation.transactions import watcher
from warmer.models import ChangeRecord

IDS = range(12)
UNTOUCHED = 3
"""The writer, article and label that no change concerns, unless it concerns every row."""


class World:
    """The models, their jobs and their rows."""

    def __init__(self, made: dict[str, type[models.Model]]) -> None:
        self.__dict__.update(made)
        self.tables = [each._meta.db_table for each in made.values()]
        self.tables.append(self.Article.labels.through._meta.db_table)
        self.jobs = dict(self._declare())

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def _declare(self) -> Iterator[tuple[str, Any]]:
        article, note, label, essay = self.Article, self.Note, self.Label, self.Essay

        def by_people(rows: Any) -> Loaded:
            found = grouped(rows, "writer_id", "pk", "title")
            for id, values in grouped(rows, "editor_id", "pk", "title").items():
                found[id] = [*found.get(id, []), *values]
            return found

        every = tuple(article._meta.get_field(name).attname for name in ("writer", "editor", "title"))
        yield self._job("row", {article: "id"}, lambda: grouped(article.objects, "pk", *every))
        yield self._job(
            "writer", {article: "writer_id"}, lambda: grouped(article.objects, "writer_id", *every)
        )
        yield self._job("editor", {article: "editor"}, lambda: grouped(article.objects, "editor_id", *every))
        yield self._job(
            "title",
            {article: "writer_id"},
            lambda: grouped(article.objects, "writer_id", "pk", "title"),
            fields={article: ["title"]},
        )
        yield self._job(
            "path", {note: "article__writer_id"}, lambda: grouped(note.objects, "article__writer", "text")
        )
        yield self._job(
            "function",
            {article: lambda row: [row.writer_id, row.editor_id]},
            lambda: by_people(article.objects),
            fields={article: ["writer", "editor", "title"]},
        )
        yield self._job(
            "list", [article, label], lambda: dict.fromkeys(IDS, sorted(article.objects.values_list()))
        )
        yield self._job(
            "labelled", {article: "labels"}, lambda: grouped(article.objects, "labels", "pk", "title")
        )
        yield self._job(
            "labels", {label: "articles__writer"}, lambda: grouped(label.objects, "articles__writer", "name")
        )
        yield self._job("essay", {essay: "pk"}, lambda: grouped(essay.objects, "pk", *every, "pages"))
        yield self._job(
            "essays", {essay: "writer_id"}, lambda: grouped(essay.objects, "writer_id", "pk", "pages")
        )
        yield self._job(
            "essay_labels", {essay: "labels"}, lambda: grouped(essay.objects, "labels", "pk", "pages")
        )

    def _job(self, name: str, depends_on: Any, load: Callable[[], Loaded], **options: Any) -> tuple[str, Any]:
        def loader(ids: Iterable[int]) -> Loaded:
            found = load()
            return {id: found.get(id, []) for id in ids}

        declare = warm_many(f"{name}:{{id}}", ids=lambda: IDS, name=name, depends_on=depends_on, **options)
        return name, declare(loader)

    def reset(self) -> None:
        """Make the rows anew, with the same ids; leave no record."""
        with watcher("default").quiet():
            connection.ops.execute_sql_flush(
                connection.ops.sql_flush(no_style(), self.tables, reset_sequences=True)
            )
            for name in ("Anna", "Bert", "Carl", "Dora"):
                self.Writer.objects.create(name=name)
            for writer, editor, title in ((1, 2, "a"), (2, 4, "b"), (3, None, "c"), (1, None, "d")):
                self.Article.objects.create(writer_id=writer, editor_id=editor, title=title)
            self.Essay.objects.create(writer_id=2, editor_id=1, title="e", pages=5)
            for article, text in ((1, "one"), (2, "two"), (3, "three")):
                self.Note.objects.create(article_id=article, text=text)
            for name, articles in (("x", [1, 2]), ("y", [2, 5]), ("z", [3])):
                self.Label.objects.create(name=name).articles.set(articles)
            ChangeRecord.objects.all().delete()

    def warm(self) -> None:
        """Cache the value of every id of every job."""
        for job in self.jobs.values():
            job.warm(IDS)

    def loaded(self) -> dict[str, Any]:
        """Return what the loaders give now, by key."""
        return {job.key(id): value for job in self.jobs.values() for id, value in job(IDS).items()}

    def cached(self) -> dict[str, Any]:
        """Return what is cached, by key."""
        return cache.get_many([job.key(id) for job in self.jobs.values() for id in IDS])

    def wrong(self) -> dict[str, Any]:
        """Return what is cached and is not what the loaders give now, by key."""
        loaded = self.loaded()
        return {key: value for key, value in self.cached().items() if value != loaded[key]}


Loaded = dict[int, Any]


def grouped(rows: Any, key: str, *columns: str) -> Loaded:
    """Return columns of rows, by one of their columns."""
    found: dict[int, list[Any]] = defaultdict(list)
    for id, *values in rows.values_list(key, *columns):
        found[id].append(values)
    return {id: sorted(values, key=repr) for id, values in found.items()}


@contextmanager
def small_world() -> Iterator[World]:
    """Models with tables, jobs that depend on them, and triggers for these."""

    class Base(models.Model):
        class Meta:
            abstract = True
            app_label = "myapp"

    class Writer(Base):
        name = models.CharField(max_length=10)

    class Label(Base):
        name = models.CharField(max_length=10)

    class Article(Base):
        writer = models.ForeignKey(Writer, on_delete=models.CASCADE, related_name="articles")
        editor = models.ForeignKey(Writer, on_delete=models.SET_NULL, null=True, related_name="edited")
        labels = models.ManyToManyField(Label, related_name="articles")
        title = models.CharField(max_length=10)

    class Essay(Article):
        pages = models.IntegerField(default=1)

        class Meta(Base.Meta):
            abstract = False

    class Note(Base):
        article = models.ForeignKey(Article, on_delete=models.CASCADE, related_name="notes")
        text = models.CharField(max_length=10)

    made = {each.__name__: each for each in (Writer, Label, Article, Essay, Note)}
    before = set(jobs)
    with tables_of(*made.values()):
        try:
            world = World(made)
            triggers.forget_installed()
            with watcher("default").quiet():
                triggers.install("default")
            yield world
        finally:
            for name in set(jobs) - before:
                jobs.unregister(name)
            triggers.forget_installed()
