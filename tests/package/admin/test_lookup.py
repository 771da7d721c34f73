"""One key on a job's page: what the cache has of it, never its value, and the actions on it."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from django.core.cache import cache
from django.test import Client

from embedded.redis_server import RedisServer
from tests.package.admin.pages import JOBS, RUNBOOK, log, text_of
from warmer import warm, warm_many
from warmer.admin import health
from warmer.models import ChangeRecord

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]
THINGS = f"{JOBS}things/change/"
SECRET = "the-value-itself"
ONE = UUID("0e09adc4-2f5c-4f5c-9d3e-1a1b2c3d4e5f")


def declare(*ids: Any, **options: Any) -> Any:
    @warm_many("thing:{id}", name="things", ids=lambda: ids, timeout=3_600, **options)
    def things(ids: Sequence[Any]) -> Any:
        return {id: SECRET for id in ids if id != 4}

    return things


def section(client: Client, id: str, url: str = THINGS) -> str:
    """Return what the page shows of a key, as text."""
    answer = client.get(url, {"id": id})
    assert answer.status_code == 200
    page = answer.content.decode()
    assert SECRET not in page
    text = text_of(page)
    return text[text.index("Look up") : text.index("Last runs")]


def post(client: Client, action: str, id: str, **data: str) -> list[str]:
    answer = client.post(f"{THINGS}?id=1", {"action": action, "id": id, **data}, follow=True)
    assert answer.redirect_chain == [(f"{THINGS}?id=1", 302)]
    return [f"{message.level_tag}: {message}" for message in answer.context["messages"]]


def test_key__cached_or_not(operator: Client) -> None:
    job = declare(1, 2)
    job.warm([1])
    shown = section(operator, " 1 ")
    assert "thing:1" in shown
    assert "Cached yes" in shown
    assert "Expires in 59 min" in shown or "Expires in 1 h" in shown
    assert f"Size {len(json.dumps(SECRET))} bytes" in shown
    assert "Size" not in section(operator, "2")
    assert "Cached no" in section(operator, "2")
    assert "Cached" not in text_of(operator.get(THINGS).content.decode()).partition("One key")[2][:40]


@pytest.mark.parametrize(
    ("ids", "text", "key"),
    [((1,), "007", "thing:7"), (("a",), "007", "thing:007"), ((ONE,), str(ONE).upper(), f"thing:{ONE}")],
)
def test_id__is_of_the_type_of_the_declared_ones(operator: Client, ids: Any, text: str, key: str) -> None:
    declare(*ids)
    cache.set(key, SECRET)
    assert post(operator, "warm_key", text) == [f"success: Warmed {key}."]
    assert f"Key {key}" in section(operator, text)


@pytest.mark.parametrize("declared", [1, "a", ONE, None])
def test_id__that_cannot_be_one_is_refused(operator: Client, declared: Any) -> None:
    declare(*[] if declared is None else [declared])
    looked_up = {
        id: "Cached no" in section(operator, id) for id in ("x", "*", "1.5", "", "1\0", "1 2", "1:2", "{1}", "9" * 300)
    }
    # Where ids are text, a star is one like any other: it is no pattern.
    expected = {"x", "*", "1.5"} if isinstance(declared, str | None) else set()
    assert {id for id, was in looked_up.items() if was} == expected
    assert operator.get(f"{THINGS}?id=%ff%00").status_code == 200


def test_ids__are_read_once_and_not_when_the_page_updates_itself(operator: Client) -> None:
    job, reads = declare(1), []
    job.spec.__dict__["ids"] = lambda: reads.append(1) or [1]
    assert "Cached no" in section(operator, "1")
    assert len(reads) == 1
    assert operator.get(THINGS, {"id": "1", "live": "1"}).status_code == 200
    assert len(reads) == 1
    job.spec.__dict__["ids"] = lambda: 1 / 0  # which is no fault of the page
    assert "ZeroDivisionError" in section(operator, "1")


def test_single_job__has_no_id(operator: Client) -> None:
    job = warm("only", name="things")(lambda: SECRET)
    job.warm()
    assert "Cached yes" in section(operator, "whatever")
    assert post(operator, "invalidate_key", "") == ["success: Invalidated only."]
    assert cache.get("only") is None


def test_actions__change_this_key_only_and_are_logged(operator: Client) -> None:
    job = declare(1, 2)
    job.warm()
    assert post(operator, "invalidate_key", "1", why="wrong price") == ["success: Invalidated thing:1."]
    assert cache.get_many(["thing:1", "thing:2"]) == {"thing:2": SECRET}
    assert post(operator, "warm_key", "1") == ["success: Warmed thing:1."]
    assert cache.get("thing:1") == SECRET
    assert log() == [
        ("olga", "things", "Invalidated thing:1. Reason: wrong price"),
        ("olga", "things", "Warmed thing:1."),
    ]


def test_warm__without_declared_ids_is_refused(operator: Client) -> None:
    @warm_many("thing:{id}", name="things", ids=list, negative_timeout=60)
    def things(ids: Sequence[Any]) -> Any:
        return {id: SECRET for id in ids if id == 7}  # not for "7"

    assert post(operator, "warm_key", "7")[0].startswith("error: ")
    assert things.get(7) == SECRET


@pytest.mark.parametrize(
    ("declared", "id", "said"),
    [([1, 4], "4", "error: Not warmed: thing:4: no_value"), ([1, 4], "nothing\0", "error: ")],
)
def test_warm__says_why_a_key_was_not(operator: Client, declared: list[int], id: str, said: str) -> None:
    declare(*declared)
    cache.set("thing:1", SECRET)
    (shown,) = post(operator, "warm_key", id)
    assert shown.startswith(said)
    assert cache.get("thing:1") == SECRET
    assert post(operator, "invalidate_key", "1") == ["success: Invalidated thing:1."]


@pytest.mark.usefixtures("impatient_cache")
@pytest.mark.parametrize("failure", ["stop", "pause"])
def test_cache__that_is_away_is_named_and_an_invalidation_recorded(
    operator: Client, redis_server: RedisServer, failure: str
) -> None:
    declare(1)
    getattr(redis_server, failure)()
    assert "The cache" in section(operator, "1")
    assert f'href="{RUNBOOK}#{health.DOWN}"' in operator.get(THINGS, {"id": "1"}).content.decode()
    assert post(operator, "warm_key", "1")[0].startswith("error: Not warmed: thing:1: ")
    assert post(operator, "invalidate_key", "1")[0].startswith("warning: Recorded: ")
    assert ChangeRecord.objects.get(applied_at=None).rows == "[1]"
