"""Models whose primary key is of several columns."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import models

from tests.support.keyed import by_function, gone_by, job
from tests.support.tables import OwnModel, tables_of
from warmer import invalidate_for
from warmer.invalidation import captures_by_triggers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.fixture
def shop() -> Iterator[Any]:
    """Lines of orders, whose key is their order and their number."""

    class Order(OwnModel):
        town = models.CharField(max_length=10)

    class Line(OwnModel):
        pk = models.CompositePrimaryKey("order_id", "number")
        order = models.ForeignKey(Order, on_delete=models.CASCADE)
        number = models.IntegerField()
        product = models.IntegerField()

    with tables_of(Order, Line) as made:
        yield made


def set_product(line: Any) -> Any:
    line.product = 2
    return line


def rows(line: Any) -> Any:
    return type(line).objects.filter(pk=line.pk)


def by_hand(line: Any, given: Callable[[Any], Any]) -> None:
    """Say before and after a change that sends no signal what it is of."""
    invalidate_for(given(line))
    rows(line).update(product=2)
    line.refresh_from_db()
    invalidate_for(given(line))


def upsert(line: Any) -> None:
    unique = ["order_id", "number"]
    rows(line).bulk_create([set_product(line)], update_conflicts=True, update_fields=["product"], unique_fields=unique)


OLD = {"order:1", "product:1", "function:1", "town:A"}
BOTH = OLD | {"product:2", "function:2"}
NEW = {"order:2", "product:2", "function:2", "town:B"}
NEW_LINE = {"order_id": 2, "number": 7, "product": 2}
CASES: dict[str, tuple[Callable[[Any], object], set[str]]] = {
    "save": (lambda line: set_product(line).save(), BOTH),
    "save_field": (lambda line: set_product(line).save(update_fields=["product"]), BOTH),
    "by_hand": (lambda line: by_hand(line, lambda line: line), BOTH),
    "queryset_by_hand": (lambda line: by_hand(line, rows), BOTH),
    "delete": (lambda line: line.delete(), OLD),
    "delete_queryset": (lambda line: rows(line).delete(), OLD),
    "cascade": (lambda line: line.order.delete(), OLD),
    "create": (lambda line: rows(line).create(**NEW_LINE), NEW),
}
if captures_by_triggers():
    CASES |= {
        "update": (lambda line: rows(line).update(product=2), BOTH),
        "bulk_update": (lambda line: rows(line).bulk_update([set_product(line)], ["product"]), BOTH),
        "upsert": (upsert, BOTH),
        "bulk_create": (lambda line: rows(line).bulk_create([type(line)(**NEW_LINE)]), NEW),
    }


@pytest.mark.parametrize(("change", "expected"), CASES.values(), ids=CASES)
def test_change__concerns_the_ids_that_the_row_had_and_has(shop: Any, change: Any, expected: set[str]) -> None:
    for pk, town in enumerate("AB", start=1):
        shop.Order.objects.create(pk=pk, town=town)
    line, _ = (shop.Line.objects.create(order_id=pk, number=1, product=1) for pk in (1, 2))
    job("order:{id}", {shop.Line: "order_id"})
    job("product:{id}", {shop.Line: "product"})
    by_function("function:{id}", shop.Line, lambda line: line.product, "product")
    job("town:{id}", {shop.Line: "order__town", shop.Order: "town"})
    assert gone_by(OLD | NEW, change, line) == expected
