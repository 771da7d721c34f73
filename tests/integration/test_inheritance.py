"""Models that inherit from others with tables of their own: who hears of a change of the parent's row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import models, transaction

from tests.integration.keyed import cached, gone, job
from tests.integration.tables import tables_of
from warmer import BypassError, bypass, invalidate_for, jobs, warm
from warmer.querysets import WarmingQuerySet
from warmer.testing import no_bypass

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.fixture
def town() -> Iterator[Any]:
    """Places, of which some are restaurants, of which some are cafes; and some are shops."""

    class Owner(models.Model):
        class Meta:
            app_label = "myapp"

    class Place(models.Model):
        name = models.CharField(max_length=20)
        owner = models.ForeignKey(Owner, on_delete=models.SET_NULL, null=True)

        class Meta:
            app_label = "myapp"

    class OldPlace(Place):
        class Meta:
            app_label = "myapp"
            proxy = True

    class Licence(models.Model):
        number = models.AutoField(primary_key=True)

        class Meta:
            app_label = "myapp"

    class Restaurant(Licence, Place):
        chef = models.ForeignKey(Owner, on_delete=models.CASCADE, null=True, related_name="+")

        class Meta:
            app_label = "myapp"

    class Cafe(Restaurant):
        class Meta:
            app_label = "myapp"

    class Shop(Place):
        class Meta:
            app_label = "myapp"

    with tables_of(Owner, Place, OldPlace, Licence, Restaurant, Cafe, Shop):
        yield SimpleNamespace(
            Owner=Owner,
            Place=Place,
            OldPlace=OldPlace,
            Licence=Licence,
            Restaurant=Restaurant,
            Cafe=Cafe,
            Shop=Shop,
        )


@pytest.fixture
def cafe(town: Any) -> Any:
    """A cafe whose ids in its parents' tables are not its own."""
    for _ in range(2):
        town.Place.objects.create()
    return town.Cafe.objects.create(
        name="old", owner=town.Owner.objects.create(), chef=town.Owner.objects.create()
    )


def save(town: Any, place: Any) -> None:
    town.Place.objects.get(pk=place.pk).save()


CHANGES: dict[str, Callable[[Any, Any], object]] = {
    "save": save,
    "save of some fields": lambda town, place: place.save(update_fields=["name"]),
    "save of a proxy": lambda town, place: town.OldPlace.objects.get(pk=place.pk).save(),
    "update": lambda town, place: WarmingQuerySet(town.Place).filter(pk=place.pk).update(name="new"),
    "bulk_update": lambda town, place: WarmingQuerySet(town.Place).bulk_update([place], ["name"]),
    "by hand": lambda town, place: invalidate_for(place),
    "queryset by hand": lambda town, place: invalidate_for(town.Place.objects.filter(pk=place.pk)),
    "delete": lambda town, place: place.delete(),
    "delete of a queryset": lambda town, place: town.Place.objects.filter(pk=place.pk).delete(),
    "delete by a warming queryset": lambda town, place: (
        WarmingQuerySet(town.Place).filter(pk=place.pk).delete()
    ),
}


@pytest.mark.parametrize("model", ["Restaurant", "Cafe"])
@pytest.mark.parametrize("way", CHANGES)
def test_parent__change_concerns_who_depends_on_the_child(town: Any, cafe: Any, model: str, way: str) -> None:
    child = getattr(town, model)
    job("pk:{id}", {child: "pk"})
    job("place:{id}", {child: "place_ptr_id"})
    job("owner:{id}", {child: "owner_id"})
    job("owner_of:{id}", {child: "place_ptr__owner__id"})
    job("chef:{id}", {child: "chef"})
    job("function:{id}", {child: lambda row: row.pk})
    job("all:{id}", [child])
    warm("single", name="single", depends_on=[child])(lambda: 1)
    keys = cached(
        f"pk:{cafe.pk}",
        f"place:{cafe.place_ptr_id}",
        f"owner:{cafe.owner_id}",
        f"owner_of:{cafe.owner_id}",
        f"chef:{cafe.chef_id}",
        f"function:{cafe.pk}",
        "all:1",
        "single",
        "pk:0",
        "place:0",
        "owner:0",
        "owner_of:0",
        "chef:0",
    )
    place = town.Place.objects.get(pk=cafe.place_ptr_id)
    assert place.pk != cafe.pk
    with no_bypass():
        CHANGES[way](town, place)
    assert gone(*keys) == set(keys[:8])


def test_parent__row_that_moves(town: Any, cafe: Any) -> None:
    job("owner:{id}", {town.Restaurant: "owner_id"})
    job("owner_of:{id}", {town.Cafe: "place_ptr__owner__id"})
    old, new = cafe.owner_id, town.Owner.objects.create().pk
    keys = cached(*(f"{name}:{owner}" for name in ("owner", "owner_of") for owner in (old, new, 0)))
    place = town.Place.objects.get(pk=cafe.place_ptr_id)
    place.owner_id = new
    place.save()
    assert gone(*keys) == {*keys[:2], *keys[3:5]}
    cached(*keys)
    WarmingQuerySet(town.Place).update(owner_id=old)
    assert gone(*keys) >= {*keys[:2], *keys[3:5]}


def test_parent__row_that_a_delete_elsewhere_changes(town: Any, cafe: Any) -> None:
    job("pk:{id}", {town.Cafe: "pk"})
    job("owner:{id}", {town.Cafe: "owner_id"})
    keys = cached(f"pk:{cafe.pk}", f"owner:{cafe.owner_id}", "pk:0", "owner:0")
    with no_bypass():
        cafe.owner.delete()
    assert gone(*keys) == set(keys[:2])


def test_parent__new_row_is_no_child(town: Any, cafe: Any, django_assert_num_queries: Any) -> None:
    job("chef:{id}", {town.Cafe: "chef"})
    warm("single", name="single", depends_on=[town.Cafe])(lambda: 1)
    keys = cached(f"chef:{cafe.chef_id}", "single")
    with django_assert_num_queries(1), no_bypass():
        town.Place.objects.create(owner=cafe.owner)
    assert gone(*keys) == set()
    place = town.Place.objects.create()
    cached(*keys)
    place.delete()
    assert gone(*keys) == set()


def test_parent__row_that_is_no_child_is_matched_by_hand(town: Any, cafe: Any) -> None:
    job("chef:{id}", {town.Cafe: "chef"})
    rows = town.Place.objects.exclude(pk=cafe.place_ptr_id)
    with no_bypass(), transaction.atomic():
        assert rows.update(name="new")
        invalidate_for(rows)


@pytest.mark.parametrize(("depends_on", "queries"), [("pk", 1), ("owner_id", 2), ("chef", 2)])
def test_parent__cost_of_a_save(
    town: Any, depends_on: str, queries: int, django_assert_num_queries: Any
) -> None:
    """Of the parent's own columns it is what it costs a job that depends on the parent; else one query."""
    job("some:{id}", {town.Shop: "pk"} if depends_on == "pk" else {town.Cafe: depends_on})
    place = town.Place.objects.create()
    with django_assert_num_queries(queries):
        place.save()


def test_parent__is_heard_once_where_another_model_was_in_memory(
    town: Any, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # as a class that is gone, at the same address
        patch.setattr(town.Place._meta, "object_name", "Gone")
        of_other = job("gone:{id}", {town.Place: "owner_id"})
    jobs.unregister(of_other.spec.name)
    job("some:{id}", {town.Cafe: "owner_id"})
    place = town.Place.objects.create()
    with django_assert_num_queries(2):
        place.save()


@pytest.mark.parametrize("way", ["save", "delete", "update", "warming delete"])
def test_sibling__is_no_bypass_and_costs_nothing(town: Any, cafe: Any, way: str) -> None:
    job("all:{id}", [town.Cafe])
    shop = town.Shop.objects.create()
    keys = cached("all:1")
    with no_bypass():
        match way:
            case "save":
                shop.save()
            case "delete":
                shop.delete()
            case "update":
                WarmingQuerySet(town.Shop).update(name="new")
            case _:
                WarmingQuerySet(town.Shop).delete()
    assert gone(*keys) == set()


@pytest.mark.parametrize("table", ["Place", "Licence"])
def test_parents_table__changed_past_the_signals_is_a_bypass(
    town: Any, cafe: Any, settings: Any, table: str
) -> None:
    job("cafe:{id}", {town.Cafe: "pk"})
    bypass.forget()
    settings.WARMER_BYPASS = "raise"

    def write() -> None:
        with transaction.atomic():
            if table == "Place":
                town.Place.objects.update(name="new")
            else:
                town.Licence.objects.bulk_create([town.Licence()])

    with pytest.raises(BypassError, match=f"'myapp_{table.lower()}' was changed"):
        write()
    with transaction.atomic():
        town.Place.objects.update(name="new")
        invalidate_for(town.Place.objects.all())
    bypass.check()


def test_child__saved_is_no_bypass_of_its_parents(town: Any, cafe: Any) -> None:
    job("cafe:{id}", {town.Cafe: "pk"})
    job("restaurant:{id}", {town.Restaurant: "pk"})
    job("place:{id}", {town.Place: "pk"})
    keys = cached(f"cafe:{cafe.pk}", f"restaurant:{cafe.pk}", f"place:{cafe.place_ptr_id}")
    with no_bypass():
        cafe.save()
    assert gone(*keys) == set(keys)
    cached(*keys)
    with no_bypass(), transaction.atomic():
        WarmingQuerySet(town.Cafe).update(name="new")
    assert gone(*keys) == set(keys)
    with no_bypass():
        cafe.delete()
