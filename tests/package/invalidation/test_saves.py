"""Saves of rows whose values, or whose keys, are not as Django itself would have made them."""

import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.core.serializers import deserialize, serialize
from django.db import models
from django.db.models import F, Value
from django.db.models.functions import Substr

from tests.support.keyed import by_function, cached, gone, gone_by, job
from tests.support.tables import OwnModel, queries_of, tables_of
from warmer import invalidate_for
from warmer.invalidation import captures_by_triggers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

REF = uuid.UUID("0a4d55a8-d778-4022-9fab-701977c5d840")


@pytest.fixture
def box() -> Iterator[Any]:
    """A model whose key is a default, and one that refers to it."""

    class Item(OwnModel):
        id = models.UUIDField(primary_key=True, default=uuid.uuid4)
        number = models.IntegerField(default=0)
        other = models.IntegerField(default=0)
        price = models.DecimalField(max_digits=5, decimal_places=2, default=0)

    class Part(OwnModel):
        item = models.ForeignKey(Item, on_delete=models.CASCADE, db_constraint=False)

    with tables_of(Item, Part) as made:
        yield made


@pytest.mark.parametrize("given", [7, "07", " 7", 7.0])
def test_value__of_another_type_is_the_id_that_the_column_has(box: Any, given: Any) -> None:
    job("number:{id}", {box.Item: "number"})
    item = box.Item(number=given)
    for change in (item.save, partial(invalidate_for, item), item.delete):
        assert gone_by(["number:7", "number:8"], change) == {"number:7"}


@pytest.mark.parametrize("given", [REF, REF.hex, str(REF).upper(), f"urn:uuid:{REF}", REF.int])
def test_value__uuid_as_text(box: Any, given: Any) -> None:
    job("item:{id}", {box.Item: "id"})
    job("part:{id}", {box.Part: "item"})
    for row, name in ((box.Item(id=given), "item"), (box.Part(item_id=given), "part")):
        assert gone_by([f"item:{REF}", f"part:{REF}"], row.save) == {f"{name}:{REF}"}


def test_value__that_the_database_computes_is_the_id_that_the_row_has(box: Any) -> None:
    job("number:{id}", {box.Item: "number"})
    by_function("function:{id}", box.Item, lambda item: item.number, "number")
    item = box.Item.objects.create(number=6)
    names = [f"{name}:{number}" for name in ("number", "function") for number in range(6, 12)]

    def saved(value: Any) -> set[str]:
        box.Item.objects.filter(pk=item.pk).update(other=10)
        item.number = value
        return gone_by(names, item.save)

    for value, old, new in ((Value("7"), 6, 7), (F("number") + 1, 7, 8), (F("other"), 8, 10)):
        assert saved(value) == {f"{name}:{number}" for name in ("number", "function") for number in (old, new)}
    assert gone_by(names, item.delete) == {"number:10", "function:10"}


def test_value__that_is_none_of_the_column_costs_every_key(box: Any) -> None:
    job("number:{id}", {box.Item: "number"})
    keys = {"number:7", "number:8"}
    assert gone_by(keys, invalidate_for, box.Item(number="seven")) == keys
    item = box.Item.objects.create()
    with pytest.raises(ValueError, match="seven"):
        box.Item(pk=item.pk, number="seven").save()


@pytest.mark.parametrize("way", ["loaded", "forced"])
def test_key_with_a_default__row_that_is_there_moves(box: Any, way: str) -> None:
    job("number:{id}", {box.Item: "number"})
    by_function("function:{id}", box.Item, lambda item: item.number, "number")
    item = box.Item.objects.create(number=1)
    keys = cached("number:1", "number:2", "function:1", "function:2")
    others = cached("number:3", "function:3")
    moved = box.Item(id=item.id, number=2)
    if way == "loaded":
        next(deserialize("json", serialize("json", [moved]))).save()
    else:
        moved.save(force_update=True)
    assert box.Item.objects.get().number == 2
    assert gone(*keys) == set(keys)
    assert not gone(*others) or way == "forced"  # whose old ids signals do not know


def test_key_with_a_default__new_row_is_not_looked_for_and_costs_one_id(box: Any) -> None:
    job("number:{id}", {box.Item: "number"})
    with queries_of(box.Item) as queries:
        assert gone_by(["number:1", "number:2"], box.Item.objects.create, number=1) == {"number:1"}
    assert len(queries) == 1


def test_function__is_given_the_fields_as_the_row_has_them(box: Any) -> None:
    seen: list[Any] = []
    by_function("part:{id}", box.Part, lambda part: seen.append(part.item_id) or part.item_id, "item")
    keys = cached(f"part:{REF}", "part:0")
    part = box.Part.objects.create(item_id=REF.hex)
    assert seen == [REF]
    assert gone(*keys) == {f"part:{REF}"}
    assert part.item_id == REF.hex


@pytest.fixture
def word() -> Iterator[Any]:
    """A model with a column that the database computes."""

    class Word(OwnModel):
        text = models.CharField(max_length=20)
        other = models.IntegerField(default=0)
        initial = models.GeneratedField(
            expression=Substr("text", 1, 1), output_field=models.CharField(max_length=1), db_persist=True
        )

    with tables_of(Word):
        yield Word


CHANGES: dict[str, Callable[[Any], object]] = {
    "save": lambda word: word.save(),
    "save of some fields": lambda word: word.save(update_fields=["text"]),
}
if captures_by_triggers():
    CHANGES |= {"update": lambda word: type(word).objects.filter(pk=word.pk).update(text=word.text)}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_generated_column__row_moves_from_the_old_to_the_new_id(word: Any, change: Any) -> None:
    job("initial:{id}", {word: "initial"})
    by_function("function:{id}", word, lambda one: [one.initial, "every"], "initial")
    one = word.objects.create(text="abc")
    keys = {"initial:a", "initial:x", "function:a", "function:x", "function:every"}
    one.text = "xab"
    assert gone_by(keys, change, one) == keys
    assert word.objects.get().initial == "x"


def test_row_that_its_base_manager_leaves_out_after_the_save() -> None:
    class Live(models.Manager):  # type: ignore[type-arg]
        def get_queryset(self) -> Any:
            return super().get_queryset().filter(deleted=False)

    class Album(OwnModel):
        owner = models.IntegerField()

    class Photo(OwnModel):
        album = models.ForeignKey(Album, on_delete=models.CASCADE)
        deleted = models.BooleanField(default=False)
        objects = Live()

        class Meta(OwnModel.Meta):
            base_manager_name = "objects"

    with tables_of(Album, Photo):
        job("photos:{id}", {Photo: "album__owner"})
        photo = Photo.objects.create(album=Album.objects.create(owner=7))
        photo.deleted = True
        assert gone_by(["photos:7"], photo.save, update_fields=["deleted"])
