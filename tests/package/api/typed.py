"""What a type checker knows of jobs; `script/lint` runs mypy on it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import assert_type

from warmer import warm, warm_many


@warm("typed", every=60, timeout=timedelta(hours=1))
def newest() -> list[str]:
    """Load the newest titles."""
    return []


@warm_many("typed:{id}", ids=lambda: [1])
def titles(ids: Sequence[int]) -> dict[int, str]:
    """Load the titles of posts."""
    return dict.fromkeys(ids, "")


async def use() -> None:
    """Use the jobs in each way."""
    assert_type(newest.get(), list[str] | None)
    assert_type(newest.get(0), list[str] | int)
    assert_type(await newest.aget(), list[str] | None)
    assert_type(newest(), list[str] | None)
    assert_type(titles.get(1), str | None)
    assert_type(titles.get(1, b""), str | bytes)
    assert_type(await titles.aget(1), str | None)
    assert_type(titles.get_many([1]), dict[int, str])
    assert_type(await titles.aget_many([1]), dict[int, str])
    titles.get("1")  # type: ignore[call-overload]
    newest.warm([1])  # type: ignore[arg-type, call-arg]
    warm("typed", evry=1)  # type: ignore[call-arg]
