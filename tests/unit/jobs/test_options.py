"""An option that there is not, or that is missing, is named, with what to write and where."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.jobs.declarations import crowd_ids, refusal
from warmer import warm, warm_many

pytestmark = pytest.mark.usefixtures("registry")

EVERY_OPTION = (
    "name, cache, timeout, every, depends_on, fields, on_change, required, queue, jitter, negative_timeout, "
    "refresh_below, max_batches_per_second"
)
NO_KEY = "the key is the first argument, and has no name: write "


@pytest.mark.parametrize(
    ("declare", "why"),
    [
        (lambda: warm("x", evry=1), "@warm: there is no option evry: did you mean every?"),
        (lambda: warm("x", colour="red"), f"@warm: there is no option colour: there are {EVERY_OPTION}."),
        (
            lambda: warm("x", batch_size=5),
            "@warm: batch_size is an option of @warm_many: a job with one key has no batches.",
        ),
        (
            lambda: warm("x", ids=list),
            "@warm: ids is an option of @warm_many: a job with one key has no ids.",
        ),
        (
            lambda: warm_many("x:{id}"),
            (
                "@warm_many: ids is missing: give a function that gives the ids, e.g. ids=top_user_ids, or a "
                "queryset; a job with one key is declared by @warm."
            ),
        ),
        (
            lambda: warm_many("x:{id}", idz=list),
            "@warm_many: there is no option idz: did you mean ids?",
        ),
        (
            lambda: warm_many("x:{id}", ids=crowd_ids, batchsize=5),
            "@warm_many: there is no option batchsize: did you mean batch_size?",
        ),
        (lambda: warm(), f"@warm: {NO_KEY}@warm('popular_posts', ...)."),
        (lambda: warm(key="x"), f"@warm: {NO_KEY}@warm('popular_posts', ...)."),
        (
            lambda: warm_many(ids=crowd_ids),
            f"@warm_many: {NO_KEY}@warm_many('user:{{id}}:profile', ...).",
        ),
        (
            lambda: warm("x", 60),
            (
                "@warm: 60 is given without a name, as only the key is, e.g. @warm('popular_posts', ...): "
                f"there are {EVERY_OPTION}."
            ),
        ),
    ],
)
def test_options__that_cannot_be_meant(declare: Callable[[], Any], why: str) -> None:
    said = refusal(declare)
    decorator, place, rest = re.fullmatch(r"(@\w+) \((.+?):\d+\)(: .+)", said).groups()  # type: ignore[union-attr]

    assert place == __name__
    assert decorator + rest == why


def test_options__place_is_that_of_the_declaration() -> None:
    def declare() -> None:
        warm("x", evry=1)  # type: ignore[call-arg]

    line = declare.__code__.co_firstlineno + 1
    assert refusal(declare) == f"@warm ({__name__}:{line}): there is no option evry: did you mean every?"


@pytest.mark.parametrize("decorator", [warm, warm_many])
def test_options__are_shown_to_editors(decorator: Callable[..., Any]) -> None:
    parameters = inspect.signature(decorator).parameters
    assert {"every", "timeout", "depends_on"} <= set(parameters)
    assert decorator.__doc__
