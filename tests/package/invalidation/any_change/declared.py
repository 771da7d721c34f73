"""A job for each way in which ids may depend on rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.core.cache import cache
from django.db.models import Q

from warmer import warm_many

Load = Callable[[int], Any]


def declare(world: Any) -> list[Any]:
    """Declare a job for each way in which ids may depend on rows."""
    node, leaf, label, tag = world.Node, world.Leaf, world.Label, world.Tag
    tags, friends = node.tags.through, node.friends.through

    jobs: dict[str, tuple[Any, Load]] = {
        "node": ({node: "id"}, lambda pk: list(node.objects.filter(pk=pk).values())),
        "owned": ({node: "owner_id"}, lambda pk: rows(node.objects.filter(owner=pk))),
        "leaves": ({leaf: "owner_id"}, lambda pk: rows(leaf.objects.filter(owner=pk))),
        "texts": (
            {node: "owner_id"},
            lambda pk: sorted(node.objects.filter(owner=pk).values_list("pk", "text")),
        ),
        "list": ([tag], lambda pk: sorted(tag.objects.values_list("pk", "name"))),
        "owners_of_children": (
            {node: "parent__owner_id"},
            lambda pk: rows(node.objects.filter(parent__owner=pk)),
        ),
        "leaf_labels": (
            {leaf: "label__nodes__owner"},
            lambda pk: sorted(leaf.objects.filter(label__nodes__owner=pk).values_list("pk", "extra")),
        ),
        "children": ({node: "parent"}, lambda pk: rows(node.objects.filter(parent=pk))),
        "labelled": ({node: "label_id"}, lambda pk: rows(node.objects.filter(label=pk))),
        "numbered": ({node: "number"}, lambda pk: rows(node.objects.filter(number=pk))),
        "labels": (
            {node: "owner_id", label: "nodes__owner_id"},
            lambda pk: sorted(node.objects.filter(owner=pk).values_list("pk", "label__name")),
        ),
        "function": (
            {node: lambda row: [row.owner_id, row.parent_id]},
            lambda pk: rows(node.objects.filter(Q(owner=pk) | Q(parent=pk))),
        ),
        "tags": (
            {tags: "node_id", tag: "nodes"},
            lambda pk: sorted(tag.objects.filter(nodes=pk).values_list("pk", "name")),
        ),
        "tagged": (
            {tags: "tag", node: "tags"},
            lambda pk: rows(node.objects.filter(tags=pk)),
        ),
        "tag_owners": (
            {tags: "node__owner_id", node: "owner_id", tag: "nodes__owner_id"},
            lambda pk: sorted(tag.objects.filter(nodes__owner=pk).values_list("pk", "name")),
        ),
        "friends": (
            {friends: lambda row: [row.from_node_id, row.to_node_id]},
            lambda pk: sorted(node.objects.filter(friends=pk).values_list("pk", flat=True)),
        ),
        "befriended": (
            {friends: "to_node_id"},
            lambda pk: sorted(friends.objects.filter(to_node=pk).values_list("from_node_id", flat=True)),
        ),
    }
    fields: dict[str, Any] = {
        "function": {node: ["owner", "parent", "text", "number"]},
        "friends": {friends: ["from_node", "to_node"]},
        "texts": {node: ["text"]},
    }
    return [
        warm_many(f"{name}:{{id}}", ids=world.ids, name=name, depends_on=depends_on, fields=fields.get(name))(
            lambda ids, load=load: {id: load(id) for id in ids}
        )
        for name, (depends_on, load) in jobs.items()
    ]


def rows(nodes: Any) -> list[Any]:
    return sorted(nodes.values_list("pk", "text", "number"))


def wrong(jobs: Sequence[Any], ids: Sequence[int]) -> list[tuple[str, Any, Any]]:
    """Return what is cached and not what the database says."""
    found = []
    for job in jobs:
        cached = cache.get_many([job.key(id) for id in ids])
        for id, value in job(ids).items():
            if job.key(id) in cached and cached[job.key(id)] != value:
                found.append((job.key(id), cached[job.key(id)], value))
    return found
