"""Rows that are saved, created, moved and deleted, also with odd values: which keys go, for how many queries."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.serializers import deserialize, serialize
from django.db import models, transaction
from django.db.models import F, Value
from django.db.models.functions import Substr
from django.db.models.signals import post_save, pre_delete

from myapp.models import Comment, Post
from tests.support.keyed import by_function, cached, gone, gone_by, job, waiting
from tests.support.tables import OwnModel, queries_of, tables_of
from warmer import invalidate_for
from warmer.invalidation import captures_by_triggers
from warmer.invalidation.receivers import UID, listen

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

REF = uuid.UUID("0a4d55a8-d778-4022-9fab-701977c5d840")


@pytest.mark.parametrize("in_atomic", [False, True])
@pytest.mark.parametrize("way", ["save", "save of other fields", "delete"])
def test_row__that_another_process_has_moved(make_post: Any, make_comment: Any, in_atomic: bool, way: str) -> None:
    """The instance in memory says A -> C, but its row was at B."""
    a, b, c = make_post(), make_post(), make_post()
    comment = make_comment(post=a)
    Comment.objects.filter(pk=comment.pk).update(post=b)
    comment.post = c
    keys = cached(*(f"post:{post.pk}" for post in (a, b, c)))
    with transaction.atomic() if in_atomic else nullcontext():
        if way == "delete":
            comment.delete()
        else:
            comment.save(update_fields=None if way == "save" else ["body"])
    assert gone(*keys) >= {*(keys[1:] if way == "save" else keys[1:2])}
    assert keys[0] not in gone(*keys)


@pytest.mark.parametrize("fields", [["title"], ["author"], None], ids=["title", "author", "all"])
def test_save__asks_at_most_once_what_the_row_has(make_post: Any, fields: Any) -> None:
    job("author:{id}:posts", {Post: "author_id"})
    post = make_post()
    (key,) = cached(f"author:{post.author_id}:posts")
    with queries_of(Post) as queries:
        post.save(update_fields=fields)
    assert len(queries) == (1 if captures_by_triggers() else 2)
    assert gone(key) == {key}


@pytest.fixture
def raising_receiver() -> Iterator[None]:
    """A receiver of the project that raises, and that was connected before ours: as in a models.py."""

    def raises(**_: Any) -> None:
        raise RuntimeError("the mail server is away")

    post_save.disconnect(sender=Post, dispatch_uid=UID)
    post_save.connect(raises, sender=Post)
    listen()
    yield
    post_save.disconnect(raises, sender=Post)


@pytest.mark.usefixtures("raising_receiver")
@pytest.mark.parametrize("in_atomic", [False, True])
def test_save__invalidates_with_triggers_even_if_an_earlier_receiver_raises(make_post: Any, in_atomic: bool) -> None:
    with pytest.raises(RuntimeError):
        make_post(title="old")
    post = Post.objects.get()
    (key,) = cached(f"post:{post.pk}")
    post.title = "new"
    with transaction.atomic() if in_atomic else nullcontext(), pytest.raises(RuntimeError):
        post.save()
    assert Post.objects.get().title == "new"
    assert gone(key) == ({key} if captures_by_triggers() else set())
    assert waiting() == []


def test_listen__again_is_heard_once() -> None:
    before = [each for each in post_save.receivers if each[0] == (UID, id(Post))]
    assert before
    listen()
    assert [each for each in post_save.receivers if each[0] == (UID, id(Post))] == before


def test_delete__stays_fast_with_triggers_or_without_a_job(make_post: Any) -> None:
    """Django reads the rows of a model before it deletes them where somebody listens."""
    assert not pre_delete.has_listeners(Session)
    make_post()  # the first signal shows that there are triggers
    assert pre_delete.has_listeners(Post) is not captures_by_triggers()


# -- values, and keys, that are not as Django itself would have made them --------------------------------
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
    seen: list[Any] = []
    job("item:{id}", {box.Item: "id"})
    job("part:{id}", {box.Part: "item"})
    by_function("function:{id}", box.Part, lambda part: seen.append(part.item_id) or part.item_id, "item")
    keys = [f"item:{REF}", f"part:{REF}", f"function:{REF}", "function:0"]
    assert gone_by(keys, box.Item(id=given).save) == {keys[0]}
    assert gone_by(keys, box.Part(item_id=given).save) == {*keys[1:3]}
    assert seen == [REF]


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
    assert not gone(*others)


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
