"""Key templates: what is a key, what is an id, and when two templates meet."""

from __future__ import annotations

import itertools
import string
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from django.db.models import IntegerChoices, TextChoices
from hypothesis import given
from hypothesis import strategies as st

from warmer.exceptions import DeclarationError, InvalidId
from warmer.keys import MAX_KEY_LENGTH, Id, KeyTemplate, glob_escape

FORBIDDEN = string.whitespace + "{}\x00\x1b\x1f\x7f\u00a0\u2028"
literals = st.text(
    st.characters(codec="utf-8", exclude_characters="{}", exclude_categories=("Cc", "Zs", "Zl", "Zp")),
    max_size=20,
)
ids = st.one_of(
    st.integers(),
    st.uuids(),
    literals.map(lambda text: text.replace(":", "")).filter(bool),
)
keyed_templates = st.builds(KeyTemplate, prefix=literals, suffix=literals, keyed=st.just(True))
templates = keyed_templates.filter(lambda template: template.prefix or template.suffix) | st.builds(
    KeyTemplate, prefix=literals.filter(bool), suffix=st.just(""), keyed=st.just(False)
)


@pytest.mark.parametrize(
    ("text", "prefix", "suffix"),
    [
        ("user:{id}:profile", "user:", ":profile"),
        ("post:{id}", "post:", ""),
        ("{id}-card", "", "-card"),
    ],
)
def test_parse__keyed(text: str, prefix: str, suffix: str) -> None:
    template = KeyTemplate.parse(text, keyed=True)

    assert template == KeyTemplate(prefix=prefix, suffix=suffix, keyed=True)
    assert str(template) == text


def test_parse__single() -> None:
    template = KeyTemplate.parse("popular_posts", keyed=False)

    assert template == KeyTemplate(prefix="popular_posts", suffix="", keyed=False)
    assert str(template) == "popular_posts"
    assert template.key() == "popular_posts"


@given(template=templates)
def test_parse__reads_what_a_template_shows(template: KeyTemplate) -> None:
    assert KeyTemplate.parse(str(template), keyed=template.keyed) == template


@pytest.mark.parametrize("text", ["", None, 7, b"popular_posts", ["a"]])
@pytest.mark.parametrize("keyed", [False, True])
def test_parse__is_no_text(text: Any, keyed: bool) -> None:
    with pytest.raises(DeclarationError) as caught:
        KeyTemplate.parse(text, keyed=keyed)

    assert str(caught.value) == f"a key is a string such as 'popular_posts', not {text!r}"


@pytest.mark.parametrize("text", ["user:profile", "user:{id}:{id}", "user:{pk}:profile", "user:{ID}"])
def test_parse__keyed_without_exactly_one_id(text: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        KeyTemplate.parse(text, keyed=True)

    assert str(caught.value) == (
        f"the key {text!r} must hold {{id}} exactly once, e.g. 'user:{{id}}:profile'; "
        "a job with one key is declared by @warm"
    )


@pytest.mark.parametrize("text", ["user:{id}", "{id}", "{id}{id}"])
def test_parse__single_with_an_id(text: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        KeyTemplate.parse(text, keyed=False)

    assert str(caught.value) == (
        f"the key {text!r} holds {{id}}, but @warm declares a single key; "
        "a job with a key for each id is declared by @warm_many"
    )


@pytest.mark.parametrize("character", FORBIDDEN)
@pytest.mark.parametrize(("before", "after"), [("a", "b"), ("", "b"), ("a", "")])
@pytest.mark.parametrize("template", ["{}", "{}:{{id}}", "{{id}}:{}"])
def test_parse__character_that_no_key_may_hold(
    template: str, before: str, after: str, character: str
) -> None:
    text = template.format(before + character + after)

    with pytest.raises(DeclarationError) as caught:
        KeyTemplate.parse(text, keyed="id" in template)

    assert str(caught.value) == (
        f"the key {text!r} may not hold blanks, control characters or braces other than {{id}}"
    )


@pytest.mark.parametrize("keyed", [False, True])
def test_parse__longest_key(keyed: bool) -> None:
    ending = "{id}" if keyed else ""
    longest = "k" * (MAX_KEY_LENGTH - len(ending)) + ending
    KeyTemplate.parse(longest, keyed=keyed)

    with pytest.raises(DeclarationError) as caught:
        KeyTemplate.parse("k" + longest, keyed=keyed)

    assert str(caught.value) == f"the key {'k' + longest!r} is longer than 200 bytes"


@pytest.mark.parametrize(
    ("id", "key"),
    [
        (42, "user:42:profile"),
        (-1, "user:-1:profile"),
        (0, "user:0:profile"),
        ("ada.lovelace@example.org", "user:ada.lovelace@example.org:profile"),
        ("日本", "user:日本:profile"),
        (
            UUID("12345678-1234-5678-1234-567812345678"),
            "user:12345678-1234-5678-1234-567812345678:profile",
        ),
    ],
)
def test_key__of_an_id(id: Id, key: str) -> None:
    assert KeyTemplate.parse("user:{id}:profile", keyed=True).key(id) == key


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
def test_key__of_a_member_of_an_enum_is_that_of_its_value(make: Any, value: Any) -> None:
    template, member = KeyTemplate.parse("kind:{id}", keyed=True), make(value).ONE

    assert template.key(member) == f"kind:{value}"
    batch = template.batch([member])
    assert batch == {f"kind:{value}": value}
    assert type(batch[f"kind:{value}"]) is type(value)


@pytest.mark.parametrize("value", [None, True, 1.5, "a b", (1,)])
def test_key__of_a_member_whose_value_is_no_id(value: Any) -> None:
    member = Enum("Kind", {"ONE": value}).ONE  # type: ignore[attr-defined]

    with pytest.raises(InvalidId) as caught:
        KeyTemplate.parse("kind:{id}", keyed=True).key(member)

    assert str(caught.value).startswith(f"{member!r} cannot be an id of kind:{{id}}: ")


@given(prefix=literals, suffix=literals, id=ids)
def test_key__holds_the_id_and_nothing_else(prefix: str, suffix: str, id: Id) -> None:
    key = KeyTemplate(prefix=prefix, suffix=suffix, keyed=True).key(id)

    assert key.removeprefix(prefix).removesuffix(suffix) == str(id)
    assert len(key) == len(prefix) + len(str(id)) + len(suffix)


@given(prefix=literals, suffix=literals, one=ids, other=ids)
def test_key__is_the_same_only_for_the_same_id(prefix: str, suffix: str, one: Id, other: Id) -> None:
    template = KeyTemplate(prefix=prefix, suffix=suffix, keyed=True)

    assert (template.key(one) == template.key(other)) is (str(one) == str(other))


@pytest.mark.parametrize("id", [None, True, False, 1.0, b"1", (1,), ["1"], object])
def test_key__of_another_type(id: Any) -> None:
    with pytest.raises(InvalidId) as caught:
        KeyTemplate.parse("user:{id}", keyed=True).key(id)

    assert str(caught.value) == f"{id!r} cannot be an id of user:{{id}}: expected an int, a str or a UUID"


@pytest.mark.parametrize("id", ["", *(f"4{character}2" for character in FORBIDDEN + ":"), "4\n", " 4"])
def test_key__of_a_text_that_no_key_may_hold(id: str) -> None:
    with pytest.raises(InvalidId) as caught:
        KeyTemplate.parse("user:{id}", keyed=True).key(id)

    assert str(caught.value) == (
        f"{id!r} cannot be an id of user:{{id}}: it may not be empty or hold blanks, "
        "control characters, ':', '{' or '}'"
    )


@pytest.mark.parametrize("id", [10**5000, "\ud800"], ids=["digits", "half"])
def test_key__of_what_cannot_be_written(id: Id) -> None:
    # More digits than Python writes, and half a character, which no server can be sent.
    with pytest.raises(InvalidId):
        KeyTemplate.parse("user:{id}", keyed=True).key(id)


def test_key__longest_id() -> None:
    template = KeyTemplate.parse("user:{id}:profile", keyed=True)
    longest = "i" * (MAX_KEY_LENGTH - len("user::profile"))
    assert len(template.key(longest)) == MAX_KEY_LENGTH

    with pytest.raises(InvalidId) as caught:
        template.key("i" + longest)

    assert str(caught.value) == f"the id {'i' * 20}… makes a key of user:{{id}}:profile longer than 200"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("user:{id}", "user:{id}"),
        ("popular_posts", "popular_posts"),
        ("user:{id}", "user:top"),
        ("{id}:profile", "user:{id}"),
        ("a{id}", "{id}b"),
        ("post-{id}", "post-{id}-card"),
        ("user:{id}:profile", "user:me:profile"),
    ],
)
def test_collides__share_a_key(one: str, other: str) -> None:
    assert parse(one).collides(parse(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("user:{id}", "user:{id}:profile"),
        ("user:{id}", "post:{id}"),
        ("user:{id}", "user:"),
        ("user-{id}", "user-"),
        ("user:{id}", "user"),
        ("a{id}", "b{id}"),
        ("{id}a", "{id}b"),
        ("aa{id}aa", "aaaa"),
        ("popular_posts", "popular_post"),
        ("user:{id}:profile", "user:{id}:page"),
    ],
)
def test_collides__share_none(one: str, other: str) -> None:
    assert not parse(one).collides(parse(other))


def test_collides__agrees_with_every_short_key() -> None:
    alphabet, longest = "ab:", 2
    texts = [
        "".join(each) for size in range(longest + 1) for each in itertools.product(alphabet, repeat=size)
    ]
    # Two templates that meet do so in a key of both longest texts with one letter between them.
    all_ids = [
        "".join(each) for size in range(1, 2 * longest + 2) for each in itertools.product("ab", repeat=size)
    ]
    every = [KeyTemplate(prefix=text, suffix="", keyed=False) for text in texts if text]
    every += [KeyTemplate(prefix=one, suffix=other, keyed=True) for one in texts for other in texts]
    keys = [{each.key(id) for id in all_ids} for each in every]

    for (one, ones), (other, others) in itertools.product(zip(every, keys, strict=True), repeat=2):
        assert one.collides(other) is not ones.isdisjoint(others), f"{one} and {other}"


@given(one=templates, other=templates)
def test_collides__is_symmetric(one: KeyTemplate, other: KeyTemplate) -> None:
    assert one.collides(other) is other.collides(one)


@given(template=templates, id=ids)
def test_collides__with_itself_and_each_of_its_keys(template: KeyTemplate, id: Id) -> None:
    assert template.collides(template)
    assert template.collides(KeyTemplate(prefix=template.key(id), suffix="", keyed=False))


def test_fence__shows_the_template_without_braces() -> None:
    assert [parse(text).fence for text in ("count", "user:{id}:profile")] == ["count", "user:*:profile"]


@given(template=templates)
def test_fence__is_that_of_templates_alone_that_collide(template: KeyTemplate) -> None:
    name = template.fence
    same = [KeyTemplate(prefix=name, suffix="", keyed=False)]
    for at in [at for at, letter in enumerate(name) if letter == "*"]:
        same.append(KeyTemplate(prefix=name[:at], suffix=name[at + 1 :], keyed=True))

    assert {each.fence for each in same} == {name}
    assert template in same
    assert all(map(template.collides, same))


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("user:1:profile", "user:1:profile"),
        ("*", r"\*"),
        ("a?[b]*c", r"a\?\[b\]\*c"),
        ("back\\slash", r"back\\slash"),
    ],
)
def test_glob_escape(text: str, escaped: str) -> None:
    assert glob_escape(text) == escaped


def parse(text: str) -> KeyTemplate:
    return KeyTemplate.parse(text, keyed="{id}" in text)


def test_parse__nothing_but_the_id() -> None:
    # A sweep of such a job would take every key of the cache.
    with pytest.raises(DeclarationError, match="would take every key of the cache"):
        KeyTemplate.parse("{id}", keyed=True)
