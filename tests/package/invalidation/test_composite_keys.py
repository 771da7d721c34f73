"""Models whose primary key is of several columns."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import models

from tests.support.keyed import by_function, cached, gone, job
from tests.support.tables import tables_of
from warmer import invalidate_for
from warmer.invalidation import captures_by_triggers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


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


def delete(line: Any) -> None:
    line.delete()


def delete_queryset(line: Any) -> None:
    type(line).objects.filter(pk=line.pk).delete()


def cascade(line: Any) -> None:
    line.order.delete()


def create(line: Any) -> None:
    type(line).objects.create(order_id=2, number=7, product=2)


def bulk_create(line: Any) -> None:
    type(line).objects.bulk_create([type(line)(order_id=2, number=7, product=2)])


OLD = {"order:1", "product:1", "function:1", "town:A"}
BOTH = OLD | {"product:2", "function:2"}
NEW = {"order:2", "product:2", "function:2", "town:B"}
CASES: list[tuple[Callable[[Any], None], set[str]]] = [
    *((each, BOTH) for each in (save, save_field, by_hand, queryset_by_hand)),
    *((each, OLD) for each in (delete, delete_queryset, cascade)),
    (create, NEW),
]
if captures_by_triggers():
    CASES += [(update, BOTH), (bulk_update, BOTH), (upsert, BOTH), (bulk_create, NEW)]


@pytest.mark.parametrize(("change", "expected"), CASES, ids=[change.__name__ for change, _ in CASES])
def test_change__concerns_the_ids_that_the_row_had_and_has(shop: Any, change: Any, expected: set[str]) -> None:
    for pk, town in enumerate("AB", start=1):
        shop.Order.objects.create(pk=pk, town=town)
    line, _ = (shop.Line.objects.create(order_id=pk, number=1, product=1) for pk in (1, 2))
    job("order:{id}", {shop.Line: "order_id"})
    job("product:{id}", {shop.Line: "product"})
    by_function("function:{id}", shop.Line, lambda line: line.product, "product")
    job("town:{id}", {shop.Line: "order__town", shop.Order: "town"})
    cached(*OLD, *NEW)
    change(line)
    assert gone(*OLD, *NEW) == expected
