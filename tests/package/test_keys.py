"""Key templates: what is a key, what is an id, and when two templates meet."""

import itertools
import string
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db.models import IntegerChoices, TextChoices
from hypothesis import given
from hypothesis import strategies as st

from warmer.exceptions import DeclarationError, InvalidId
from warmer.keys import MAX_KEY_LENGTH, Id, KeyTemplate, glob_escape

FORBIDDEN = string.whitespace + "{}\x00\x1b\x1f\x7f\u00a0\u2028"
literals = st.text(
    st.characters(codec="utf-8", exclude_characters="{}", exclude_categories=("Cc", "Zs", "Zl", "Zp")), max_size=20
)
ids = st.integers() | st.uuids() | literals.map(lambda text: text.replace(":", "")).filter(bool)
templates = st.builds(KeyTemplate, prefix=literals, suffix=literals, keyed=st.just(True)).filter(
    lambda template: template.prefix or template.suffix
) | st.builds(KeyTemplate, prefix=literals.filter(bool), suffix=st.just(""), keyed=st.just(False))


def parse(text: str) -> KeyTemplate:
    return KeyTemplate.parse(text, keyed="{id}" in text)


@given(template=templates)
def test_parse__reads_what_a_template_shows(template: KeyTemplate) -> None:
    assert KeyTemplate.parse(str(template), keyed=template.keyed) == template


@pytest.mark.parametrize(
    ("text", "keyed", "why"),
    [
        *[(text, keyed, "is a string") for text in ("", None, 7, b"key", ["a"]) for keyed in (False, True)],
        *[(text, True, "exactly once") for text in ("user", "user:{id}:{id}", "user:{pk}", "user:{ID}")],
        *[(text, False, "@warm_many") for text in ("user:{id}", "{id}", "{id}{id}")],
        ("{id}", True, "every key of the cache"),  # a sweep of such a job would take them all
        ("k" * (MAX_KEY_LENGTH + 1), False, "longer than 200"),
        ("k" * (MAX_KEY_LENGTH - 3) + "{id}", True, "longer than 200"),
    ],
)
def test_parse__refuses_what_is_no_template(text: Any, keyed: bool, why: str) -> None:
    with pytest.raises(DeclarationError, match=why):
        KeyTemplate.parse(text, keyed=keyed)


@pytest.mark.parametrize("character", FORBIDDEN)
@pytest.mark.parametrize("around", ["a{}b", "{}b", "a{}"])
@pytest.mark.parametrize("template", ["{}", "{}:{{id}}", "{{id}}:{}"])
def test_parse__character_that_no_key_may_hold(template: str, around: str, character: str) -> None:
    with pytest.raises(DeclarationError, match="must not contain"):
        parse(template.format(around.format(character)))


@pytest.mark.parametrize("value", ["red", 7, 10**20])
@pytest.mark.parametrize(
    "make",
    [
        lambda value: Enum("Kind", {"ONE": value}),
        lambda value: Enum("Kind", {"ONE": value}, type=type(value)),
        lambda value: (StrEnum if isinstance(value, str) else IntEnum)("Kind", {"ONE": value}),
        lambda value: (TextChoices if isinstance(value, str) else IntegerChoices)("Kind", {"ONE": value}),
    ],
    ids=["Enum", "mixed in", "StrEnum or IntEnum", "Choices"],
)
def test_key__of_an_enum_member_is_that_of_its_value(make: Any, value: Any) -> None:
    template, member = parse("kind:{id}"), make(value).ONE
    assert template.key(member) == f"kind:{value}"
    ((key, id),) = template.batch([member]).items()
    assert (key, id, type(id)) == (f"kind:{value}", value, type(value))


@dataclass(frozen=True)
class Ulid:
    """An id as libraries have them: a value that is known by its text."""

    text: str

    def __str__(self) -> str:
        return self.text


def test_key__of_an_object_is_that_of_its_text() -> None:
    template = parse("doc:{id}")
    assert template.key(Ulid("01ARZ3ND")) == "doc:01ARZ3ND"
    assert template.batch([Ulid("01ARZ3ND"), date(2026, 1, 2)]) == {  # type: ignore[list-item]
        "doc:01ARZ3ND": "01ARZ3ND",
        "doc:2026-01-02": "2026-01-02",
    }


@given(template=templates.filter(lambda template: template.keyed), one=ids, other=ids)
def test_key__is_the_same_only_for_the_same_id(template: KeyTemplate, one: Id, other: Id) -> None:
    assert template.key(one) == f"{template.prefix}{one}{template.suffix}"
    assert (template.key(one) == template.key(other)) is (str(one) == str(other))


@pytest.mark.parametrize(
    "id",
    [
        *(None, True, 1.0, b"1", (1,), ["1"], object, object(), Decimal(1)),
        *(datetime(2026, 1, 2, tzinfo=UTC), Group(id=1)),
        pytest.param("\ud800", id="half"),  # of a character, which no server can be sent
    ],
)
def test_key__of_another_type_or_what_cannot_be_written(id: Any) -> None:
    by_text = isinstance(id, str | datetime)
    with pytest.raises(InvalidId, match="must not be empty" if by_text else "a UUID, as from values_list"):
        parse("user:{id}").key(id)


@pytest.mark.parametrize("id", ["", *(f"4{character}2" for character in FORBIDDEN + ":"), "4\n", " 4"])
def test_key__of_a_text_that_no_key_may_hold(id: str) -> None:
    for given_id in (id, Enum("Kind", {"ONE": id}).ONE):  # type: ignore[attr-defined]
        with pytest.raises(InvalidId, match="must not be empty or contain"):
            parse("user:{id}").key(given_id)


def test_key__longest() -> None:
    parse("k" * MAX_KEY_LENGTH)
    assert parse("k" * (MAX_KEY_LENGTH - 4) + "{id}").batch([7])
    template = parse("user:{id}:profile")
    longest = "i" * (MAX_KEY_LENGTH - len("user::profile"))
    assert len(template.key(longest)) == MAX_KEY_LENGTH
    with pytest.raises(InvalidId, match="longer than 200"):
        template.key("i" + longest)


def test_collides__exactly_when_two_templates_share_a_key() -> None:
    alphabet, longest = "ab:", 2
    texts = ["".join(each) for size in range(longest + 1) for each in itertools.product(alphabet, repeat=size)]
    # Two templates that meet do so in a key of both longest texts with one letter between them.
    all_ids = ["".join(each) for size in range(1, 2 * longest + 2) for each in itertools.product("ab", repeat=size)]
    every = [KeyTemplate(prefix=text, suffix="", keyed=False) for text in texts if text]
    every += [KeyTemplate(prefix=one, suffix=other, keyed=True) for one in texts for other in texts]
    keys = [{each.key(id) for id in all_ids} for each in every]

    for (one, ones), (other, others) in itertools.product(zip(every, keys, strict=True), repeat=2):
        assert one.collides(other) is not ones.isdisjoint(others), f"{one} and {other}"


@given(one=templates, other=templates, id=ids)
def test_collides__is_symmetric_and_with_each_of_its_keys(one: KeyTemplate, other: KeyTemplate, id: Id) -> None:
    assert one.collides(other) is other.collides(one)
    assert one.collides(one)
    assert one.collides(KeyTemplate(prefix=one.key(id), suffix="", keyed=False))


@given(template=templates)
def test_fence__is_shared_only_by_templates_that_collide(template: KeyTemplate) -> None:
    name = template.fence
    assert "{" not in name
    same = [KeyTemplate(prefix=name, suffix="", keyed=False)]
    for at in [at for at, letter in enumerate(name) if letter == "*"]:
        same.append(KeyTemplate(prefix=name[:at], suffix=name[at + 1 :], keyed=True))

    assert {each.fence for each in same} == {name}
    assert template in same
    assert all(map(template.collides, same))


def test_glob_escape() -> None:
    assert glob_escape("user:1:a?[b]*c\\d") == r"user:1:a\?\[b\]\*c\\d"
