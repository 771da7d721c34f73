"""Models that inherit from others with tables of their own: who hears of a change of the parent's row."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import models

from tests.support.keyed import by_function, cached, gone, gone_by, job
from tests.support.tables import OwnModel, queries_of, tables_of
from warmer import invalidate_for, warm
from warmer.invalidation import captures_by_triggers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.fixture
def town() -> Iterator[Any]:
    """Places, of which some are restaurants, of which some are cafes; and some are shops."""

    class Owner(OwnModel):
        pass

    class Place(OwnModel):
        name = models.CharField(max_length=20)
        owner = models.ForeignKey(Owner, on_delete=models.SET_NULL, null=True)

    class OldPlace(Place):
        class Meta:
            app_label = "myapp"
            proxy = True

    class Licence(OwnModel):
        number = models.AutoField(primary_key=True)
        is_valid = models.BooleanField(default=True)

    class Restaurant(Licence, Place):
        chef = models.ForeignKey(Owner, on_delete=models.CASCADE, null=True, related_name="+")

    class Cafe(Restaurant):
        pass

    class Shop(Place):
        place_ptr = models.OneToOneField(Place, on_delete=models.CASCADE, parent_link=True, related_name="+")
        size = models.IntegerField(default=0)

    with tables_of(Owner, Place, OldPlace, Licence, Restaurant, Cafe, Shop) as made:
        yield made


@pytest.fixture
def cafe(town: Any) -> Any:
    """A cafe whose ids in its parents' tables are not its own."""
    for _ in range(2):
        town.Place.objects.create()
    return town.Cafe.objects.create(name="old", owner=town.Owner.objects.create(), chef=town.Owner.objects.create())


def save(town: Any, place: Any) -> None:
    town.Place.objects.get(pk=place.pk).save()


CHANGES: dict[str, Callable[[Any, Any], object]] = {
    "save": save,
    "save of some fields": lambda town, place: place.save(update_fields=["name"]),
    "save of another parent": lambda town, place: town.Licence.objects.get(pk=place.restaurant.pk).save(),
    "save of a proxy": lambda town, place: town.OldPlace.objects.get(pk=place.pk).save(),
    "by hand": lambda town, place: invalidate_for(place),
    "queryset by hand": lambda town, place: invalidate_for(town.Place.objects.filter(pk=place.pk)),
    "delete": lambda town, place: place.delete(),
    "delete of a queryset": lambda town, place: town.Place.objects.filter(pk=place.pk).delete(),
}
if captures_by_triggers():
    CHANGES["update"] = lambda town, place: town.Place.objects.filter(pk=place.pk).update(name="new")


@pytest.mark.parametrize("model", ["Restaurant", "Cafe"])
@pytest.mark.parametrize("way", CHANGES)
def test_parent__change_concerns_who_depends_on_the_child(town: Any, cafe: Any, model: str, way: str) -> None:
    child = getattr(town, model)
    paths = {
        "pk": ("pk", cafe.pk),
        "licence": ("licence_ptr_id", cafe.pk),
        "place": ("place_ptr_id", cafe.place_ptr_id),
        "owner": ("owner_id", cafe.owner_id),
        "owner_of": ("place_ptr__owner__id", cafe.owner_id),
        "chef": ("chef", cafe.chef_id),
    }
    for name, (path, _) in paths.items():
        job(f"{name}:{{id}}", {child: path})
    warm("single", name="single", depends_on=[child])(lambda: 1)
    keys = {*(f"{name}:{id}" for name, (_, id) in paths.items()), "single"}
    others = {f"{name}:0" for name in paths}
    place = town.Place.objects.get(pk=cafe.place_ptr_id)
    assert place.pk != cafe.pk
    assert gone_by(keys | others, CHANGES[way], town, place) == keys


def test_parent__row_that_moves(town: Any, cafe: Any) -> None:
    job("owner:{id}", {town.Restaurant: "owner_id"})
    job("owner_of:{id}", {town.Cafe: "place_ptr__owner__id"})
    place = town.Place.objects.get(pk=cafe.place_ptr_id)
    place.owner = town.Owner.objects.create()
    moved = {f"{name}:{owner}" for name in ("owner", "owner_of") for owner in (cafe.owner_id, place.owner_id)}
    assert gone_by({*moved, "owner:0", "owner_of:0"}, place.save) == moved


def test_parent__to_which_no_name_leads_back_costs_every_key(town: Any) -> None:
    job("shop:{id}", {town.Shop: "size"})
    assert gone_by(["shop:1", "shop:2"], town.Place.objects.create) == {"shop:1", "shop:2"}


def test_function__is_of_the_childs_own_row(town: Any, cafe: Any) -> None:
    by_function("chef:{id}", town.Restaurant, lambda row: row.chef_id, "chef")
    keys = cached(f"chef:{cafe.chef_id}", "chef:0")
    assert gone_by(keys, save, town, cafe.place_ptr) == set()
    restaurant = town.Restaurant.objects.get(pk=cafe.pk)
    restaurant.chef = town.Owner.objects.create()
    restaurant.save()
    assert gone(*keys) >= {keys[0]}
    keys = [f"chef:{restaurant.chef_id}", "chef:0"]
    assert gone_by(keys, restaurant.delete) >= {keys[0]}


COSTS = [("Shop", "pk", 1, 1), ("Cafe", "owner_id", 2, 1), ("Cafe", "chef", 2, 2)]


@pytest.mark.parametrize(("child", "path", "signals", "triggers"), COSTS)
def test_parent__cost_of_a_save(town: Any, child: str, path: str, signals: int, triggers: int) -> None:
    """With signals one query before it where the row can move; one after it for what is elsewhere."""
    job("some:{id}", {getattr(town, child): path})
    place = town.Place.objects.create()
    with queries_of(town.Place) as made:
        place.save()
    assert len(made) == (triggers if captures_by_triggers() else signals)


@pytest.mark.parametrize("way", ["create", "save", "delete"])
@pytest.mark.parametrize("other", ["Place", "Shop"])
def test_parent__row_that_is_no_such_child_concerns_no_id(town: Any, cafe: Any, other: str, way: str) -> None:
    job("pk:{id}", {town.Cafe: "pk"})
    job("chef:{id}", {town.Cafe: "chef"})
    row = getattr(town, other).objects.create()
    change = type(row).objects.create if way == "create" else getattr(row, way)
    assert gone_by([f"pk:{cafe.pk}", f"chef:{cafe.chef_id}"], change) == set()


def test_child__saved_concerns_who_depends_on_its_parents(town: Any, cafe: Any) -> None:
    for name in ("Cafe", "Restaurant", "Place", "OldPlace", "Licence"):
        job(f"{name.lower()}:{{id}}", {getattr(town, name): "pk"})
    keys = [f"cafe:{cafe.pk}", f"restaurant:{cafe.pk}", f"licence:{cafe.pk}"]
    keys += [f"place:{cafe.place_ptr_id}", f"oldplace:{cafe.place_ptr_id}"]
    but_licence = {*keys} - {keys[2]}
    cafe.name = "new"
    assert gone_by(keys, cafe.save) >= but_licence
    if captures_by_triggers():
        assert gone_by(keys, town.Cafe.objects.update, name="newer") == but_licence
    assert gone_by(keys, town.OldPlace.objects.get(pk=cafe.place_ptr_id).save) == but_licence
    assert gone_by(keys, cafe.delete) == set(keys)
