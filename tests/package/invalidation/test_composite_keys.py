"""Models whose primary key is of several columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import models, transaction

from tests.support.keyed import by_function, cached, gone, job
from tests.support.tables import tables_of
from warmer import invalidate_for
from warmer.invalidation import captures_by_triggers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


KEYS = [f"{name}:{id}" for name in ("order", "product", "function") for id in (1, 2)] + ["town:A", "town:B"]


@pytest.fixture
def shop() -> Iterator[Any]:
    """Lines of orders, whose key is their order and their number."""

    class Order(models.Model):
        town = models.CharField(max_length=10)

        class Meta:
            app_label = "myapp"

    class Line(models.Model):
        pk = models.CompositePrimaryKey("order_id", "number")
        order = models.ForeignKey(Order, on_delete=models.CASCADE)
        number = models.IntegerField()
        product = models.IntegerField()

        class Meta:
            app_label = "myapp"

    with tables_of(Order, Line):
        yield SimpleNamespace(Order=Order, Line=Line)


def save(line: Any) -> None:
    line.product = 2
    line.save()


def save_field(line: Any) -> None:
    line.product = 2
    line.save(update_fields=["product"])


def update(line: Any) -> None:
    type(line).objects.filter(pk=line.pk).update(product=2)


def bulk_update(line: Any) -> None:
    line.product = 2
    type(line).objects.bulk_update([line], ["product"])


def upsert(line: Any) -> None:
    line.product = 2
    type(line).objects.bulk_create(
        [line], update_conflicts=True, update_fields=["product"], unique_fields=["order_id", "number"]
    )


def by_hand(line: Any) -> None:
    invalidate_for(line)
    type(line).objects.filter(pk=line.pk).update(product=2)
    line.refresh_from_db()
    invalidate_for(line)


def queryset_by_hand(line: Any) -> None:
    rows = type(line).objects.filter(pk=line.pk)
    invalidate_for(rows)
    rows.update(product=2)
    invalidate_for(rows)


CHANGES = [save, save_field, by_hand, queryset_by_hand]
if captures_by_triggers():
    CHANGES += [update, bulk_update, upsert]


@pytest.mark.parametrize("in_atomic", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_changed__old_and_new_ids_go(shop: Any, change: Callable[[Any], None], in_atomic: bool) -> None:
    line, _ = declared(shop)
    keys = cached(*KEYS)
    with transaction.atomic() if in_atomic else nullcontext():
        change(line)
    assert gone(*keys) == {*keys} - {"order:2", "town:B"}


DELETES: dict[str, Callable[[Any], object]] = {
    "instance": lambda line: line.delete(),
    "queryset": lambda line: type(line).objects.filter(pk=line.pk).delete(),
    "cascade": lambda line: line.order.delete(),
    "cascade of a queryset": lambda line: type(line.order).objects.filter(pk=line.order_id).delete(),
}


@pytest.mark.parametrize("delete", DELETES.values(), ids=DELETES)
def test_deleted__its_ids_go(shop: Any, delete: Callable[[Any], object]) -> None:
    line, _ = declared(shop)
    keys = cached(*KEYS)
    delete(line)
    assert gone(*keys) == {"order:1", "product:1", "function:1", "town:A"}


CREATES: dict[str, Callable[[Any, Any], object]] = {
    "create": lambda model, values: model.objects.create(**values),
}
if captures_by_triggers():
    CREATES |= {
        "bulk_create": lambda model, values: model.objects.bulk_create([model(**values)]),
        "bulk_create past conflicts": lambda model, values: model.objects.bulk_create(
            [model(**values)], ignore_conflicts=True
        ),
    }


@pytest.mark.parametrize("create", CREATES.values(), ids=CREATES)
def test_created__its_ids_go(shop: Any, create: Callable[[Any, Any], object]) -> None:
    line, _ = declared(shop)
    keys = cached(*KEYS)
    create(type(line), {"order_id": 2, "number": 7, "product": 2})
    assert gone(*keys) == {"order:2", "product:2", "function:2", "town:B"}


def declared(shop: Any) -> list[Any]:
    """Declare a job for each way in which ids may depend on lines; return a line of each of two orders."""
    for pk, town in enumerate("AB", start=1):
        shop.Order.objects.create(pk=pk, town=town)
    lines = [shop.Line.objects.create(order_id=pk, number=1, product=1) for pk in (1, 2)]
    job("order:{id}", {shop.Line: "order_id"})
    job("product:{id}", {shop.Line: "product"})
    by_function("function:{id}", shop.Line, lambda line: line.product, "product")
    job("town:{id}", {shop.Line: "order__town", shop.Order: "town"})
    return lines
