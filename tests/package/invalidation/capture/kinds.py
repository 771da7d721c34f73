"""Every kind of change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import F

from tests.package.invalidation.capture import outsiders

ANY, POSTGRESQL, SQLITE = "", "postgresql", "sqlite"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of change.

    Attributes:
        change: makes it.
        only: the one database that has it.
        by_relay: this process cannot know of it, so the relay applies it.
        is_elsewhere: another connection makes it, so no transaction of ours is open.
        of_every_row: it may concern every key.
    """

    change: Callable[[Any], object]
    only: str = ANY
    by_relay: bool = False
    is_elsewhere: bool = False
    of_every_row: bool = False


def _execute(*statements: str) -> Callable[[Any], None]:
    def change(_world: Any) -> None:
        with connection.cursor() as cursor:
            for each in statements:
                cursor.execute(each)

    return change


def _sql(*statements: str, **options: Any) -> Kind:
    return Kind(change=_execute(*statements), **options)


def _saved(row: Any, /, *, only: list[str] | None = None, **values: Any) -> None:
    for name, value in values.items():
        setattr(row, name, value)
    row.save(update_fields=only)


def _bulk_update(world: Any) -> None:
    one, two = world.Article.objects.filter(pk__in=[1, 2]).order_by("pk")
    one.writer_id, two.title = 2, "new"
    world.Article.objects.bulk_update([one, two], ["writer", "title"])


def _upsert(world: Any) -> None:
    rows = [world.Article(pk=1, writer_id=2, title="new"), world.Article(pk=9, writer_id=1, title="new")]
    world.Article.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["id"], update_fields=["writer", "editor", "title"]
    )


def _executemany(_world: Any) -> None:
    with connection.cursor() as cursor:
        cursor.executemany("UPDATE myapp_article SET title = %s WHERE id = %s", [("new", 1), ("new", 2)])


def _copy(_world: Any) -> None:
    with connection.cursor() as cursor, cursor.copy("COPY myapp_note (article_id, text) FROM STDIN") as rows:
        rows.write_row((1, "new"))


_PROCEDURE = """
CREATE OR REPLACE PROCEDURE a_procedure() LANGUAGE plpgsql AS $$
BEGIN UPDATE myapp_article SET writer_id = 2, title = 'new' WHERE id = 1; END $$
"""
_FUNCTION = """
CREATE OR REPLACE FUNCTION a_function() RETURNS int LANGUAGE plpgsql AS $$
BEGIN CALL a_procedure(); RETURN 1; END $$
"""


def _in_procedure(call: str) -> Callable[[Any], None]:
    def change(world: Any) -> None:
        outsiders.run(_PROCEDURE, _FUNCTION)
        _execute(call)(world)

    return change


def _past_django(_world: Any) -> None:
    connection.ensure_connection()
    connection.connection.execute("UPDATE myapp_article SET title = 'new' WHERE id = 1")


def _outside(*statements: str) -> Kind:
    return Kind(change=lambda _world: outsiders.run(*statements), by_relay=True, is_elsewhere=True)


_RAW_VALUES = "(writer_id, editor_id, title) VALUES (1, 2, 'new')"

KINDS: dict[str, Kind] = {
    # -- one row
    "save": Kind(change=lambda w: _saved(w.Article.objects.get(pk=1), writer_id=2, title="new")),
    "save_some_fields": Kind(
        change=lambda w: _saved(w.Article.objects.get(pk=1), writer_id=2, only=["writer"])
    ),
    "save_an_expression": Kind(
        change=lambda w: _saved(w.Article.objects.get(pk=1), editor_id=F("writer_id"))
    ),
    "save_of_a_child": Kind(change=lambda w: _saved(w.Essay.objects.get(pk=5), writer_id=1, pages=9)),
    "save_of_a_parent": Kind(change=lambda w: _saved(w.Article.objects.get(pk=5), writer_id=1, title="new")),
    "save_of_a_row_on_the_way": Kind(change=lambda w: _saved(w.Note.objects.get(pk=1), article_id=2)),
    "save_with_another_key": Kind(change=lambda w: _saved(w.Article.objects.get(pk=1), pk=9)),
    "create": Kind(change=lambda w: w.Article.objects.create(writer_id=1, editor_id=2, title="new")),
    "create_a_child": Kind(change=lambda w: w.Essay.objects.create(writer_id=1, title="new")),
    "get_or_create": Kind(change=lambda w: w.Article.objects.get_or_create(title="new", writer_id=1)),
    "update_or_create": Kind(
        change=lambda w: w.Article.objects.update_or_create(pk=1, defaults={"writer_id": 2})
    ),
    "delete": Kind(change=lambda w: w.Article.objects.get(pk=1).delete()),
    "delete_a_child": Kind(change=lambda w: w.Essay.objects.get(pk=5).delete()),
    "delete_a_child_alone": Kind(change=lambda w: w.Essay.objects.get(pk=5).delete(keep_parents=True)),
    "cascade": Kind(change=lambda w: w.Writer.objects.get(pk=1).delete()),
    "set_null": Kind(change=lambda w: w.Writer.objects.get(pk=4).delete()),
    # -- several rows
    "delete_queryset": Kind(change=lambda w: w.Article.objects.filter(writer_id=2).delete()),
    "delete_raw": Kind(change=lambda w: w.Article.objects.filter(pk=4)._raw_delete("default")),
    "update": Kind(change=lambda w: w.Article.objects.filter(pk=1).update(writer=2, title="new")),
    "update_by_f": Kind(change=lambda w: w.Article.objects.filter(pk__lt=3).update(writer=F("editor"))),
    "update_of_a_child": Kind(change=lambda w: w.Essay.objects.filter(pk=5).update(writer=1, pages=9)),
    "update_of_a_label": Kind(change=lambda w: w.Label.objects.filter(pk=1).update(name="new")),
    "bulk_create": Kind(
        change=lambda w: w.Article.objects.bulk_create(
            [w.Article(writer_id=1, title="new"), w.Article(writer_id=2, title="new")]
        )
    ),
    "bulk_create_upsert": Kind(change=_upsert),
    "bulk_create_ignoring": Kind(
        change=lambda w: w.Article.objects.bulk_create(
            [w.Article(pk=1, writer_id=2), w.Article(pk=9, writer_id=2)], ignore_conflicts=True
        )
    ),
    "bulk_update": Kind(change=_bulk_update),
    # -- many-to-many fields
    "add": Kind(change=lambda w: w.Article.objects.get(pk=1).labels.add(2)),
    "set": Kind(change=lambda w: w.Article.objects.get(pk=1).labels.set([2])),
    "remove": Kind(change=lambda w: w.Article.objects.get(pk=1).labels.remove(1)),
    "clear": Kind(change=lambda w: w.Article.objects.get(pk=2).labels.clear()),
    "add_from_the_other_end": Kind(change=lambda w: w.Label.objects.get(pk=2).articles.add(1)),
    "set_from_the_other_end": Kind(change=lambda w: w.Label.objects.get(pk=2).articles.set([1])),
    "remove_from_the_other_end": Kind(change=lambda w: w.Label.objects.get(pk=2).articles.remove(2)),
    "clear_from_the_other_end": Kind(change=lambda w: w.Label.objects.get(pk=1).articles.clear()),
    "link": Kind(change=lambda w: w.Article.labels.through.objects.create(article_id=1, label_id=2)),
    "relink": Kind(change=lambda w: w.Article.labels.through.objects.filter(article=1).update(article_id=5)),
    # -- SQL
    "insert": _sql(f"INSERT INTO myapp_article {_RAW_VALUES}"),
    "insert_from_select": _sql(
        "INSERT INTO myapp_article (writer_id, editor_id, title) "
        "SELECT editor_id, writer_id, 'new' FROM myapp_article WHERE id < 3"
    ),
    "insert_on_conflict": _sql(
        "INSERT INTO myapp_article (id, writer_id, title) VALUES (1, 2, 'new') "
        "ON CONFLICT (id) DO UPDATE SET writer_id = excluded.writer_id"
    ),
    "update_by_sql": _sql("update MYAPP_ARTICLE set writer_id = 3 - writer_id where writer_id in (1, 2)"),
    "update_of_a_key": _sql('UPDATE "myapp_article" SET id = 9 WHERE id = 4'),
    "update_behind_a_cte": _sql(
        "WITH few AS (SELECT 1 AS id) UPDATE myapp_article SET title = 'new' WHERE id IN (SELECT id FROM few)"
    ),
    "update_of_a_link": _sql("UPDATE myapp_article_labels SET label_id = 2 WHERE article_id = 1"),
    "delete_by_sql": _sql("DELETE FROM myapp_article WHERE id = 4", "DELETE FROM myapp_note WHERE id = 1"),
    "executemany": Kind(change=_executemany),
    "truncate": _sql("TRUNCATE myapp_article CASCADE", only=POSTGRESQL, of_every_row=True),
    "delete_everything": _sql("DELETE FROM myapp_note", only=SQLITE, of_every_row=True),
    "delete_and_insert": _sql(
        "WITH gone AS (DELETE FROM myapp_note WHERE id = 1 RETURNING *) "
        "INSERT INTO myapp_note (article_id, text) SELECT 2, text FROM gone",
        only=POSTGRESQL,
    ),
    "merge": _sql(
        "MERGE INTO myapp_article a USING (VALUES (1), (9)) v (id) ON a.id = v.id "
        "WHEN MATCHED THEN UPDATE SET writer_id = 2 "
        "WHEN NOT MATCHED THEN INSERT (id, writer_id, title) VALUES (v.id, 1, 'new')",
        only=POSTGRESQL,
    ),
    "anonymous_block": _sql(
        "DO $$ BEGIN UPDATE myapp_article SET writer_id = 2 WHERE id = 1; END $$", only=POSTGRESQL
    ),
    # -- what this process cannot know of
    "copy": Kind(change=_copy, only=POSTGRESQL, by_relay=True),
    "procedure": Kind(change=_in_procedure("CALL a_procedure()"), only=POSTGRESQL, by_relay=True),
    "function": Kind(change=_in_procedure("SELECT a_function()"), only=POSTGRESQL, by_relay=True),
    "past_django": Kind(change=_past_django, by_relay=True),
    "another_program": _outside(
        "UPDATE myapp_article SET writer_id = 2, title = 'new' WHERE id = 1",
        f"INSERT INTO myapp_article {_RAW_VALUES}",
        "DELETE FROM myapp_note WHERE id = 1",
        "DELETE FROM myapp_article_labels WHERE article_id = 1",
    ),
}
