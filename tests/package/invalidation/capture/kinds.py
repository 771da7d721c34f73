"""Kinds of change that only SQL has, and those that only one database has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import connection

from tests.package.invalidation.capture import outsiders

ANY, POSTGRESQL, SQLITE = "", "postgresql", "sqlite"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of change.

    Attributes:
        change: makes it.
        only: the one database that has it.
        is_elsewhere: another program makes it, so no transaction of ours is open, and the relay applies it.
    """

    change: Callable[[Any], object]
    only: str = ANY
    is_elsewhere: bool = False


def _sql(*statements: str, **options: Any) -> Kind:
    def change(_world: Any) -> None:
        with connection.cursor() as cursor:
            for each in statements:
                cursor.execute(each)

    return Kind(change=change, **options)


def _executemany(_world: Any) -> None:
    with connection.cursor() as cursor:
        cursor.executemany("UPDATE myapp_node SET text = %s WHERE id = %s", [("new", 1), ("new", 2)])


def _outside(*statements: str) -> Kind:
    return Kind(change=lambda _world: outsiders.run(*statements), is_elsewhere=True)


_INSERT = "INSERT INTO myapp_node (id, owner_id, text, number) VALUES (9, 1, 'new', 1)"
_UPDATE = "UPDATE myapp_node SET owner_id = 3, text = 'new' WHERE id = 1"

KINDS: dict[str, Kind] = {
    "insert": _sql(_INSERT),
    "insert_on_conflict": _sql(
        f"{_INSERT.replace('9', '1')} ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id + 1"
    ),
    "update": _sql("update MYAPP_NODE set owner_id = 3 - owner_id where owner_id in (1, 2)"),
    "update_of_a_key": _sql('UPDATE "myapp_node" SET id = 9 WHERE id = 4'),
    "update_behind_a_cte": _sql(
        "WITH few AS (SELECT 1 AS id) UPDATE myapp_node SET text = 'new' WHERE id IN (SELECT id FROM few)"
    ),
    "update_of_a_link": _sql("UPDATE myapp_node_tags SET tag_id = 3 WHERE node_id = 2"),
    "delete": _sql("DELETE FROM myapp_node_tags WHERE node_id = 1"),
    "delete_raw": Kind(change=lambda world: world.Node.objects.filter(pk=4)._raw_delete("default")),
    "executemany": Kind(change=_executemany),
    "truncate": _sql("TRUNCATE myapp_node CASCADE", only=POSTGRESQL),
    "delete_everything": _sql("DELETE FROM myapp_node_friends", only=SQLITE),
    "delete_and_insert": _sql(
        "WITH gone AS (DELETE FROM myapp_node_tags WHERE node_id = 2 RETURNING *) "
        "INSERT INTO myapp_node_tags (node_id, tag_id) SELECT 4, tag_id FROM gone",
        only=POSTGRESQL,
    ),
    "merge": _sql(
        "MERGE INTO myapp_node n USING (VALUES (1), (9)) v (id) ON n.id = v.id "
        "WHEN MATCHED THEN UPDATE SET owner_id = 2 "
        "WHEN NOT MATCHED THEN INSERT (id, owner_id, text, number) VALUES (v.id, 1, 'new', 1)",
        only=POSTGRESQL,
    ),
    "anonymous_block": _sql(f"DO $$ BEGIN {_UPDATE}; END $$", only=POSTGRESQL),
    "another_program": _outside(_UPDATE, _INSERT, "DELETE FROM myapp_node_tags WHERE node_id = 1"),
}
