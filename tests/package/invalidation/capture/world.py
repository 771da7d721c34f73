"""A small world of models that refer to each other in every way, with a job for each way to find ids."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.cache import cache
from django.core.management.color import no_style
from django.db import connection, models
from django.db.models import Model, Q, QuerySet

from tests.package.invalidation.capture.things import jobs_of_a_test
from tests.support.fixtures import install_triggers
from tests.support.tables import OwnModel, tables_of
from tests.support.transactions import unwatched
from warmer import warm_many
from warmer.invalidation import captures_by_triggers
from warmer.models import ChangeRecord

Loaded = dict[int, list[Any]]


class World:
    """The models, their jobs and rows, and random choices among them."""

    def __init__(self, made: dict[str, type[Model]], seed: int = 1) -> None:
        self.__dict__.update(made)
        self.made = made
        self.random = random.Random(seed)
        self.seen: set[int] = set()
        self.jobs: dict[str, Any] = {}

    def another(self, seed: int) -> World:
        """Return the same world, with other choices."""
        other = World(self.made, seed)
        other.jobs = self.jobs
        return other

    def reset(self) -> None:
        """Make a few rows, with the same ids each time; leave no record."""
        tables = [each._meta.db_table for each in self.made.values()]
        tables += [each.through._meta.db_table for each in (self.Node.tags, self.Node.friends)]
        with unwatched():
            flush = connection.ops.sql_flush(no_style(), tables, reset_sequences=True)
            connection.ops.execute_sql_flush(flush)
            for name in "abc":
                for model in (self.Owner, self.Label, self.Tag):
                    model.objects.create(name=name)
            for owner, parent, label in ((1, None, 1), (2, 1, 2), (3, None, None), (1, 2, None)):
                self.Node.objects.create(owner_id=owner, parent_id=parent, label_id=label, text="a")
            self.Leaf.objects.create(owner_id=2, parent_id=1, label_id=1, text="a", number=5)
            for node, tags, friends in ((1, [1, 2], [2]), (2, [2], [5]), (5, [1], [])):
                self.Node.objects.get(pk=node).tags.set(tags)
                self.Node.objects.get(pk=node).friends.add(*friends)
            ChangeRecord.objects.all().delete()

    # -- what is cached --------------------------------------------------------------------------------
    def ids(self) -> list[int]:
        """Return what can be an id: the keys of rows, those that are gone too, and some numbers."""
        for model in (self.Owner, self.Label, self.Tag, self.Node):
            self.seen.update(QuerySet(model).values_list("pk", flat=True))
        return sorted({*range(1, 8), *sorted(self.seen)[-12:]})

    def warm(self) -> None:
        """Cache every missing value of every job."""
        ids = self.ids()
        for job in self.jobs.values():
            job.warm(ids, only_missing=True)

    def loaded(self) -> dict[str, Any]:
        """Return what the loaders give now, by key."""
        ids = self.ids()
        return {job.key(id): value for job in self.jobs.values() for id, value in job(ids).items()}

    def cached(self) -> dict[str, Any]:
        ids = self.ids()
        return cache.get_many([job.key(id) for job in self.jobs.values() for id in ids])

    def wrong(self) -> dict[str, Any]:
        """Return what is cached and is not what the loaders give now, by key."""
        loaded = self.loaded()
        return {key: value for key, value in self.cached().items() if value != loaded[key]}

    # -- random choices --------------------------------------------------------------------------------
    def one(self, model: Any) -> Any:
        """Return a row of a model; one is made where there is none."""
        rows = list(QuerySet(model).order_by("pk"))
        return self.random.choice(rows) if rows else self.create(model)

    def any_of(self, *names: str) -> Any:
        return self.one(self.made[self.random.choice(names)])

    def rows_of(self, *names: str) -> QuerySet[Any]:
        return QuerySet(self.made[self.random.choice(names)])

    def maybe(self, model: Any) -> Any:
        return self.one(model) if self.random.random() < 0.7 else None

    def some(self, model: Any) -> list[Any]:
        rows = list(QuerySet(model).order_by("pk"))
        return self.random.sample(rows, min(len(rows), self.random.randint(0, 3)))

    def create(self, model: Any) -> Any:
        if model in (self.Node, self.Leaf):
            return model.objects.create(**self.columns())
        return model.objects.create(name=self.word())

    def keep_few(self) -> None:
        """Leave two to four rows of each model."""
        for model in (self.Node, self.Owner, self.Label, self.Tag):
            for row in list(model.objects.order_by("-pk")[4:]):
                if model is self.Label:  # no signal tells which nodes a deleted label leaves without one
                    row.nodes.all().delete()
                QuerySet(model).filter(pk=row.pk).delete()
            while QuerySet(model).count() < 2:
                self.create(model)

    def word(self) -> str:
        return self.random.choice("abc")

    def columns(self) -> dict[str, Any]:
        """Return values for a new node."""
        return {
            "owner": self.one(self.Owner),
            "parent": self.random.choice([None, *QuerySet(self.Node)]),
            "label": self.maybe(self.Label),
            "text": self.word(),
            "number": self.random.randint(1, 5),
        }

    def moved(self, node: Any) -> Any:
        """Give a node other values in memory."""
        columns = self.columns()
        del columns["parent"]
        for name in self.random.sample(sorted(columns), self.random.randint(1, 4)):
            setattr(node, name, columns[name])
        return node

    def condition(self) -> Q:
        conditions = [
            Q(text=self.word()),
            Q(owner__name=self.word()),
            Q(tags__name=self.word()),
            Q(label=None),
            Q(pk__in=[each.pk for each in self.some(self.Node)]),
        ]
        return self.random.choice(conditions)


@contextmanager
def small_world() -> Iterator[World]:
    """Models of every kind of relation with tables, jobs that depend on them, and triggers for these."""

    class Named(OwnModel):
        name = models.CharField(max_length=10)

        class Meta(OwnModel.Meta):
            abstract = True

    class Owner(Named):
        pass

    class Label(Named):
        pass

    class Tag(Named):
        pass

    class Node(OwnModel):
        owner = models.ForeignKey(Owner, on_delete=models.CASCADE, related_name="nodes")
        parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="children")
        label = models.ForeignKey(Label, on_delete=models.SET_NULL, null=True, related_name="nodes")
        tags = models.ManyToManyField(Tag, related_name="nodes")
        friends = models.ManyToManyField("self")
        text = models.CharField(max_length=10)
        number = models.IntegerField(default=1)

    class Leaf(Node):
        extra = models.IntegerField(default=0)

    world = World({each.__name__: each for each in (Owner, Label, Tag, Node, Leaf)})
    with tables_of(*world.made.values()), jobs_of_a_test():
        world.jobs = declare(world)
        if captures_by_triggers():
            install_triggers()
        yield world


# -- the jobs --------------------------------------------------------------------------------------------
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
