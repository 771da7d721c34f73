"""The jobs; each says how many keys it has by its name, as worker and client must agree."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from functools import partial

from warmer import warm_many

ROWS = int(os.environ["BENCH_ROWS"])
SIZES = tuple(sorted({max(1, ROWS // 100), max(1, ROWS // 10), ROWS}))
LOAD_SECONDS = 0.005
BATCH = 100

Value = dict[str, int | str]


def stream(count: int) -> Iterator[int]:
    """Give ids one by one: nobody has them all in memory."""
    yield from range(count)


def load(ids: Sequence[int]) -> dict[int, Value]:
    """Return values that are small and each another."""
    return {id: {"id": id, "name": f"thing {id}", "place": "on the shelf"} for id in ids}


def load_slowly(ids: Sequence[int]) -> dict[int, Value]:
    """Do so after 5 ms without work, as a query on another machine takes."""
    time.sleep(LOAD_SECONDS)
    return load(ids)


for size in SIZES:
    warm_many(f"size{size}:{{id}}", name=f"size_{size}", ids=partial(stream, size), batch_size=1_000)(load)
warm_many("slow:{id}", name="slow", ids=partial(stream, ROWS), batch_size=BATCH)(load_slowly)
warm_many("quick:{id}", name="quick", ids=partial(stream, ROWS), batch_size=BATCH)(load)
