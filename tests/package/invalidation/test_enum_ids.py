"""Members of an enum as ids: each is known by its value, as the column gives it."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import pytest
from django.core.cache import cache
from django.db.models import TextChoices

from myapp.models import Post
from tests.support.keyed import by_function, gone_by
from warmer import warm_many
from warmer.monitoring.audit.audits import audit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


MEMBERS: Any = {"RED": "red", "BLUE": "blue"}
KINDS = [
    Enum("Text", MEMBERS, type=str),  # whose text is not its value, as in many a project
    Enum("Plain", MEMBERS),
    TextChoices("Choices", MEMBERS),
]


@pytest.fixture(params=KINDS)
def kinds(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def asked() -> list[Any]:
    """What the loader was asked for."""
    return []


@pytest.fixture
def job(kinds: Any, asked: list[Any]) -> Any:
    @warm_many("slug:{id}", ids=lambda: list(kinds), name="slugs", depends_on={Post: "slug"})
    def titles(slugs: Sequence[str]) -> Mapping[str, str]:
        asked.extend(slugs)
        return dict(Post.objects.filter(slug__in=slugs).values_list("slug", "title"))

    return titles


def test_reads__know_a_member_by_its_value(make_post: Any, job: Any, kinds: Any, asked: list[Any]) -> None:
    post = make_post(slug="red", title="Old")
    assert job.get(kinds.RED) == job.get("red") == cache.get("slug:red") == "Old"
    post.title = "New"
    post.save()
    assert job.get(kinds.RED) == "New"
    assert job.get_many([kinds.RED, kinds.BLUE]) == {kinds.RED: "New"}
    assert asked == ["red", "red", "blue"]
    assert {type(each) for each in asked} == {str}


def test_warm__of_declared_members(make_post: Any, job: Any, kinds: Any) -> None:
    make_post(slug="red", title="Red")
    report = job.warm()
    assert (report.written, report.no_value, report.failed) == (1, 1, 0)
    assert cache.get("slug:red") == "Red"
    found = audit(job.spec)
    assert (found.sampled, found.right, found.no_value) == (2, 1, 1)


def test_warm__beside_an_id_that_is_none(make_post: Any, kinds: Any, asked: list[Any]) -> None:
    def loader(ids: Sequence[str]) -> Mapping[str, str]:
        asked.extend(ids)
        return {}

    job: Any = warm_many("x:{id}", ids=lambda: [kinds.RED, "a b"], name="x")(loader)
    assert job.warm().failed == 1
    assert [type(each) for each in asked] == [str]


def test_invalidation__by_hand_and_by_a_function_that_gives_members(make_post: Any, job: Any, kinds: Any) -> None:
    keys = ["slug:red", "slug:blue"]
    assert gone_by(keys, job.invalidate, [kinds.RED]) == {"slug:red"}
    by_function("k:{id}", Post, lambda post: [kinds.RED, kinds.BLUE], "title")
    assert gone_by(["k:red", "k:blue", "k:green"], make_post) == {"k:red", "k:blue"}
