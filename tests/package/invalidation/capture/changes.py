"""Random changes of rows, by every method that Django has: each takes the world."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.db import connection, transaction
from django.db.models import F, QuerySet

from tests.support.transactions import Rollback
from warmer.invalidation import captures_by_triggers


def save(world: Any) -> None:
    world.moved(world.one(world.random.choice([world.Node, world.Leaf]))).save()


def save_a_child(world: Any) -> None:
    world.moved(world.one(world.Leaf)).save()


def save_some_fields(world: Any) -> None:
    world.moved(world.one(world.Node)).save(update_fields=world.random.sample(["owner", "label", "text"], 2))


def move(world: Any) -> None:
    node = world.one(world.Node)
    node.owner = world.one(world.Owner)
    node.save(update_fields=["owner"])


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


def rename(world: Any) -> None:
    row = world.one(world.random.choice([world.Owner, world.Label, world.Tag]))
    row.name = world.word()
    row.save()


def create(world: Any) -> None:
    world.create(world.random.choice([world.Owner, world.Node, world.Leaf, world.Label, world.Tag]))


def delete(world: Any) -> None:
    world.one(world.random.choice([world.Owner, world.Node, world.Leaf, world.Tag])).delete()


def delete_a_child_alone(world: Any) -> None:
    world.one(world.Leaf).delete(keep_parents=True)


def delete_queryset(world: Any) -> None:
    model = world.random.choice([world.Owner, world.Tag])
    QuerySet(model).filter(name=world.word()).delete()


def delete_nodes(world: Any) -> None:
    model = world.random.choice([world.Node, world.Leaf])
    QuerySet(model).filter(world.condition()).delete()


def unlink(world: Any) -> None:
    world.one(world.Label).delete()


def unlink_by_queryset(world: Any) -> None:
    QuerySet(world.Label).filter(name=world.word()).delete()


def update(world: Any) -> None:
    values = {"owner": world.one(world.Owner), "label": world.maybe(world.Label), "text": world.word()}
    values |= {"number": world.random.choice([F("number") + 1, F("owner_id"), 3])}
    chosen = world.random.sample(sorted(values), world.random.randint(1, 4))
    rows = QuerySet(world.random.choice([world.Node, world.Leaf]))
    rows.filter(world.condition()).update(**{name: values[name] for name in chosen})


def update_names(world: Any) -> None:
    model = world.random.choice([world.Owner, world.Label, world.Tag])
    QuerySet(model).filter(name=world.word()).update(name=world.word())


def bulk_update(world: Any) -> None:
    nodes = [world.moved(each) for each in world.some(world.Node)]
    fields = world.random.sample(["owner", "label", "text", "number"], 2)
    QuerySet(world.Node).bulk_update(nodes, fields)


def bulk_create(world: Any) -> None:
    QuerySet(world.Node).bulk_create([world.Node(**world.columns()) for _ in range(2)])


def upsert(world: Any) -> None:
    nodes = [world.moved(each) for each in world.some(world.Node)]
    QuerySet(world.Node).bulk_create(
        nodes, update_conflicts=True, unique_fields=["id"], update_fields=["owner", "text"]
    )


def raw_update(world: Any) -> None:
    node, owner = world.one(world.Node), world.one(world.Owner)
    table = world.Node._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET owner_id = %s, number = number + 1 WHERE id = %s", [owner.pk, node.pk])


def raw_insert_from_select(world: Any) -> None:
    table = world.Node._meta.db_table
    columns = "owner_id, parent_id, label_id, text, number"
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table} WHERE id = %s", [world.one(world.Node).pk]
        )


def raw_link(world: Any) -> None:
    through = world.Node.tags.through._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {through} WHERE node_id = %s", [world.one(world.Node).pk])


def swap_links(world: Any) -> None:
    QuerySet(world.Node.tags.through).filter(node=world.one(world.Node).pk).delete()
    world.one(world.Node).tags.through.objects.get_or_create(
        node_id=world.one(world.Node).pk, tag_id=world.one(world.Tag).pk
    )


RELATED: dict[str, Callable[[Any], tuple[Any, list[Any]]]] = {
    "tags": lambda world: (world.one(world.Node).tags, world.some(world.Tag)),
    "nodes": lambda world: (world.one(world.Tag).nodes, world.some(world.Node)),
    "friends": lambda world: (world.one(world.Node).friends, world.some(world.Node)),
    "labelled": lambda world: (world.one(world.Label).nodes, world.some(world.Node)),
}


def relink(what: str, way: str) -> Callable[[Any], None]:
    """Return a change of which rows a field relates, by one of its methods."""

    def change(world: Any) -> None:
        related, others = RELATED[what](world)
        match way:
            case "add":
                related.add(*others)
            case "remove":
                related.remove(*related.all()[:1])
            case "set":
                related.set(others)
            case _:
                related.clear()

    change.__name__ = f"{way}_{what}"
    return change


WAYS = ("add", "remove", "set", "clear")


def tag_a_new_node(world: Any) -> None:
    world.one(world.Tag).nodes.create(**world.columns())


def befriend(world: Any) -> None:
    relink(world, world.one(world.Node).friends, world.some(world.Node))


def update_or_create(world: Any) -> None:
    known = {"pk": world.one(world.Node).pk} if world.random.random() < 0.5 else {"text": "new"}
    world.Node.objects.update_or_create(**known, defaults=world.columns())


def several_in_one(world: Any) -> None:
    with transaction.atomic():
        for _ in range(3):
            if world.random.random() < 0.3:
                with suppress(Rollback), transaction.atomic():
                    world.random.choice(captured())(world)
                    raise Rollback
            else:
                world.random.choice(captured())(world)


def rolled_back(world: Any) -> None:
    with suppress(Rollback), transaction.atomic():
        world.random.choice(captured())(world)
        raise Rollback


CHANGES: list[Callable[[Any], None]] = [
    save,
    save_a_child,
    save_some_fields,
    move,
    save_an_expression,
    save_a_stale_instance,
    save_with_another_key,
    rename,
    create,
    create,
    delete,
    delete_a_child_alone,
    delete_queryset,
    delete_nodes,
    tag_a_new_node,
    update_or_create,
    *(relink(what, way) for what in ("tags", "nodes", "friends") for way in WAYS),
]

PAST_THE_SIGNALS: list[Callable[[Any], None]] = [
    update,
    update_names,
    bulk_update,
    bulk_create,
    upsert,
    raw_update,
    raw_insert_from_select,
    raw_link,
    swap_links,
    unlink,
    unlink_by_queryset,
    *(relink("labelled", way) for way in WAYS),
]
"""What sends no signal, or not for every row: changes that triggers alone capture."""


def captured() -> list[Callable[[Any], None]]:
    """Return the changes that the project captures."""
    return [*CHANGES, *PAST_THE_SIGNALS] if captures_by_triggers() else CHANGES
