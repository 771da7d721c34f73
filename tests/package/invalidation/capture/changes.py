"""Changes of rows: random ones by every method that Django has, and those that only SQL has. Each takes the world."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.models import F, QuerySet

from tests.package.invalidation.capture import outsiders
from tests.package.invalidation.capture.things import execute
from tests.support.transactions import rolled_back
from warmer.invalidation import captures_by_triggers

Change = Callable[[Any], object]


def save_an_expression(world: Any) -> None:
    node = world.one(world.Node)
    node.number = world.random.choice([F("owner_id"), F("number") + 1])
    node.save()


def save_a_stale_instance(world: Any) -> None:
    stale = world.one(world.Node)
    world.moved(world.Node.objects.get(pk=stale.pk)).save()
    world.moved(stale).save()


def save_with_another_key(world: Any) -> None:
    node, gone = world.one(world.Node), world.create(world.Node)
    node.pk = gone.pk  # which no sequence gives once more
    gone.delete()
    node.save()


def move(world: Any) -> None:
    node = world.one(world.Node)
    node.owner = world.one(world.Owner)
    node.save(update_fields=["owner"])


def rename(world: Any) -> None:
    row = world.any_of("Owner", "Label", "Tag")
    row.name = world.word()
    row.save()


def update(world: Any) -> None:
    values = {"owner": world.one(world.Owner), "label": world.maybe(world.Label), "text": world.word()}
    values |= {"number": world.random.choice([F("number") + 1, F("owner_id"), 3])}
    chosen = world.random.sample(sorted(values), world.random.randint(1, 4))
    world.rows_of("Node", "Leaf").filter(world.condition()).update(**{name: values[name] for name in chosen})


def bulk_update(world: Any) -> None:
    nodes = [world.moved(each) for each in world.some(world.Node)]
    fields = world.random.sample(["owner", "label", "text", "number"], 2)
    QuerySet(world.Node).bulk_update(nodes, fields)


def upsert(world: Any) -> None:
    nodes = [world.moved(each) for each in world.some(world.Node)]
    QuerySet(world.Node).bulk_create(
        nodes, update_conflicts=True, unique_fields=["id"], update_fields=["owner", "text"]
    )


def raw(statement: str) -> Change:
    """Return a change by SQL, with a random node and owner."""

    def change(world: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement.format(node=world.one(world.Node).pk, owner=world.one(world.Owner).pk))

    return change


def swap_links(world: Any) -> None:
    links = QuerySet(world.Node.tags.through)
    links.filter(node=world.one(world.Node).pk).delete()
    links.get_or_create(node_id=world.one(world.Node).pk, tag_id=world.one(world.Tag).pk)


RELATED: dict[str, Callable[[Any], tuple[Any, list[Any]]]] = {
    "tags": lambda world: (world.one(world.Node).tags, world.some(world.Tag)),
    "nodes": lambda world: (world.one(world.Tag).nodes, world.some(world.Node)),
    "friends": lambda world: (world.one(world.Node).friends, world.some(world.Node)),
    "labelled": lambda world: (world.one(world.Label).nodes, world.some(world.Node)),
}
WAYS: dict[str, Callable[[Any, list[Any]], object]] = {
    "add": lambda related, others: related.add(*others),
    "remove": lambda related, _: related.remove(*related.all()[:1]),
    "set": lambda related, others: related.set(others),
    "clear": lambda related, _: related.clear(),
}


def relink(what: str, way: str, world: Any) -> None:
    """Change which rows a field relates, by one of its methods."""
    WAYS[way](*RELATED[what](world))


def update_or_create(world: Any) -> None:
    known = {"pk": world.one(world.Node).pk} if world.random.random() < 0.5 else {"text": "new"}
    world.Node.objects.update_or_create(**known, defaults=world.columns())


def several_in_one(world: Any) -> None:
    with transaction.atomic():
        for _ in range(3):
            (undone if world.random.random() < 0.3 else captured_one(world))(world)


def undone(world: Any) -> None:
    with rolled_back():
        captured_one(world)(world)


def captured_one(world: Any) -> Change:
    """Return a random change that the project captures."""
    return world.random.choice([*captured().values()])  # type: ignore[no-any-return]


_COLUMNS = "owner_id, parent_id, label_id, text, number"
CHANGES: dict[str, Change] = {
    "save": lambda world: world.moved(world.any_of("Node", "Leaf")).save(),
    "save_a_child": lambda world: world.moved(world.one(world.Leaf)).save(),
    "save_some_fields": lambda world: world.moved(world.one(world.Node)).save(
        update_fields=world.random.sample(["owner", "label", "text"], 2)
    ),
    "move": move,
    "save_an_expression": save_an_expression,
    "save_a_stale_instance": save_a_stale_instance,
    "save_with_another_key": save_with_another_key,
    "rename": rename,
    "create": lambda world: world.create(world.random.choice([*world.made.values()])),
    "delete": lambda world: world.any_of("Owner", "Node", "Leaf", "Tag").delete(),
    "delete_a_child_alone": lambda world: world.one(world.Leaf).delete(keep_parents=True),
    "delete_queryset": lambda world: world.rows_of("Owner", "Tag").filter(name=world.word()).delete(),
    "delete_nodes": lambda world: world.rows_of("Node", "Leaf").filter(world.condition()).delete(),
    "tag_a_new_node": lambda world: world.one(world.Tag).nodes.create(**world.columns()),
    "update_or_create": update_or_create,
    **{f"{way}_{what}": partial(relink, what, way) for what in ("tags", "nodes", "friends") for way in WAYS},
}
PAST_THE_SIGNALS: dict[str, Change] = {
    "update": update,
    "update_names": lambda world: (
        world.rows_of("Owner", "Label", "Tag").filter(name=world.word()).update(name=world.word())
    ),
    "bulk_update": bulk_update,
    "bulk_create": lambda world: QuerySet(world.Node).bulk_create([world.Node(**world.columns()) for _ in range(2)]),
    "upsert": upsert,
    "raw_update": raw("UPDATE myapp_node SET owner_id = {owner}, number = number + 1 WHERE id = {node}"),
    "raw_insert_from_select": raw(
        f"INSERT INTO myapp_node ({_COLUMNS}) SELECT {_COLUMNS} FROM myapp_node WHERE id = {{node}}"
    ),
    "raw_link": raw("DELETE FROM myapp_node_tags WHERE node_id = {node}"),
    "swap_links": swap_links,
    "unlink": lambda world: world.one(world.Label).delete(),
    "unlink_by_queryset": lambda world: world.rows_of("Label").filter(name=world.word()).delete(),
    **{f"{way}_labelled": partial(relink, "labelled", way) for way in WAYS},
}
"""What sends no signal, or not for every row: changes that triggers alone capture."""


def captured() -> dict[str, Change]:
    """Return the changes that the project captures, by name."""
    return CHANGES | PAST_THE_SIGNALS if captures_by_triggers() else CHANGES


def captured_also_together() -> dict[str, Change]:
    """Return these, and transactions of them."""
    return captured() | {"several_in_one": several_in_one, "rolled_back": undone}


# -- kinds of change that only SQL has, and those that only one database has -----------------------------
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
    return Kind(change=lambda _world: execute(*statements), **options)


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
