"""A job for each way in which ids may depend on rows."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from warmer import warm_many

Loaded = dict[int, list[Any]]


def declare(world: Any) -> dict[str, Any]:
    """Declare a job for each way in which ids may depend on rows; return the jobs by name."""
    node, leaf, label, tag = world.Node, world.Leaf, world.Label, world.Tag
    tags, friends = node.tags.through, node.friends.through
    every = ("pk", "owner_id", "parent_id", "label_id", "text", "number")

    jobs: dict[str, tuple[Any, Callable[[], Loaded]]] = {
        "node": ({node: "id"}, lambda: grouped(node, "pk", *every)),
        "owned": ({node: "owner_id"}, lambda: grouped(node, "owner", *every)),
        "leaf": ({leaf: "pk"}, lambda: grouped(leaf, "pk", *every, "extra")),
        "leaves": ({leaf: "owner_id"}, lambda: grouped(leaf, "owner", *every, "extra")),
        "texts": ({node: "owner_id"}, lambda: grouped(node, "owner", "pk", "text")),
        "list": ([tag], lambda: for_all(sorted(tag.objects.values_list("pk", "name")))),
        "owners_of_children": ({node: "parent__owner_id"}, lambda: grouped(node, "parent__owner", *every)),
        "leaf_labels": ({leaf: "label__nodes__owner"}, lambda: grouped(leaf, "label__nodes__owner", "pk", "extra")),
        "children": ({node: "parent"}, lambda: grouped(node, "parent", *every)),
        "labelled": ({node: "label_id"}, lambda: grouped(node, "label", *every)),
        "numbered": ({node: "number"}, lambda: grouped(node, "number", *every)),
        "labels": ({node: "owner_id", label: "nodes__owner_id"}, lambda: grouped(node, "owner", "pk", "label__name")),
        "function": (
            {node: lambda row: [row.owner_id, row.parent_id]},
            lambda: grouped(node, "owner", *every, found=grouped(node, "parent", *every)),
        ),
        "tags": ({tags: "node_id", tag: "nodes"}, lambda: grouped(tag, "nodes", "pk", "name")),
        "tagged": ({tags: "tag", node: "tags"}, lambda: grouped(node, "tags", *every)),
        "tag_owners": (
            {tags: "node__owner_id", node: "owner_id", tag: "nodes__owner_id"},
            lambda: grouped(tag, "nodes__owner", "pk", "name"),
        ),
        "friends": ({friends: lambda row: [row.from_node_id, row.to_node_id]}, lambda: grouped(node, "friends", "pk")),
        "befriended": ({friends: "to_node_id"}, lambda: grouped(friends, "to_node", "from_node")),
    }
    fields: dict[str, Any] = {
        "function": {node: ["owner", "parent", "label", "text", "number"]},
        "friends": {friends: ["from_node", "to_node"]},
        "texts": {node: ["text"]},
    }

    def loader(load: Callable[[], Loaded]) -> Callable[[Iterable[int]], Loaded]:
        def loaded(ids: Iterable[int]) -> Loaded:
            found = load()
            return {id: found[id] for id in ids}

        return loaded

    return {
        name: warm_many(f"{name}:{{id}}", ids=world.ids, name=name, depends_on=depends_on, fields=fields.get(name))(
            loader(load)
        )
        for name, (depends_on, load) in jobs.items()
    }


def for_all(rows: list[Any]) -> Loaded:
    """Return the same rows for every id."""
    return defaultdict(lambda: rows)


def grouped(model: Any, key: str, *columns: str, found: Loaded | None = None) -> Loaded:
    """Return columns of a model's rows by a key, after what was found by another one."""
    groups: Loaded = defaultdict(list)
    for id, *values in model.objects.order_by("pk").values_list(key, *columns):
        groups[id].append(values)
    for id, values in (found or {}).items():
        groups[id] += values
    return groups
