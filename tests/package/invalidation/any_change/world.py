"""Models that refer to each other in every way, and random rows of theirs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import models
from django.db.models import Model, Q, QuerySet

from tests.support.tables import tables_of


class World:
    """Models that refer to each other in every way, and random changes of their rows."""

    def __init__(self, models_: dict[str, type[Model]], seed: int) -> None:
        self.__dict__.update(models_)
        self.random = random.Random(seed)
        self.seen: set[int] = set()

    def ids(self) -> list[int]:
        """Return what can be an id: the keys of rows, those that are gone too, and some numbers."""
        for model in (self.Owner, self.Label, self.Tag, self.Node):
            self.seen.update(QuerySet(model).values_list("pk", flat=True))
        return sorted({*range(1, 8), *sorted(self.seen)[-12:]})

    def one(self, model: Any) -> Any:
        """Return a row of a model; one is made where there is none."""
        rows = list(QuerySet(model).order_by("pk"))
        return self.random.choice(rows) if rows else self.made(model)

    def maybe(self, model: Any) -> Any:
        """Return a row of a model, or None."""
        return self.one(model) if self.random.random() < 0.7 else None

    def some(self, model: Any) -> list[Any]:
        """Return some rows of a model."""
        rows = list(QuerySet(model).order_by("pk"))
        return self.random.sample(rows, min(len(rows), self.random.randint(0, 3)))

    def made(self, model: Any) -> Any:
        """Create a row."""
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
                self.made(model)

    def word(self) -> str:
        """Return a word of few."""
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
        """Return a condition on nodes."""
        conditions = [
            Q(text=self.word()),
            Q(owner__name=self.word()),
            Q(tags__name=self.word()),
            Q(label=None),
            Q(pk__in=[each.pk for each in self.some(self.Node)]),
        ]
        return self.random.choice(conditions)


@contextmanager
def models_of_every_kind() -> Iterator[dict[str, type[Model]]]:
    """Models of every kind of relation."""

    class Named(models.Model):
        name = models.CharField(max_length=10)

        class Meta:
            abstract = True
            app_label = "myapp"

    class Owner(Named):
        pass

    class Label(Named):
        pass

    class Tag(Named):
        pass

    class Node(models.Model):
        owner = models.ForeignKey(Owner, on_delete=models.CASCADE, related_name="nodes")
        parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="children")
        label = models.ForeignKey(Label, on_delete=models.SET_NULL, null=True, related_name="nodes")
        tags = models.ManyToManyField(Tag, related_name="nodes")
        friends = models.ManyToManyField("self")
        text = models.CharField(max_length=10)
        number = models.IntegerField(default=1)

        class Meta:
            app_label = "myapp"

    class Leaf(Node):
        extra = models.IntegerField(default=0)

        class Meta:
            app_label = "myapp"

    made = {model.__name__: model for model in (Owner, Label, Tag, Node, Leaf)}
    with tables_of(*made.values()):
        yield made
