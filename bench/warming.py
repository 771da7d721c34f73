"""Jobs that need no database, for benchmarks with Celery workers; worker and client agree on their sizes."""

import os
import time
from collections.abc import Sequence
from functools import partial

from warmer import warm_many

KEYS = int(os.environ.get("BENCH_KEYS", "1"))
LOAD_SECONDS = 0.005
BATCH = 100

Value = dict[str, int | str]


def sizes(keys: int) -> list[int]:
    """Return a hundredth, a tenth and all of this number of keys."""
    return sorted({max(1, keys // 100), max(1, keys // 10), keys})


def load(ids: Sequence[int]) -> dict[int, Value]:
    return {id: {"id": id, "name": f"thing {id}", "place": "on the shelf"} for id in ids}


def load_slowly(ids: Sequence[int]) -> dict[int, Value]:
    """Return them after a pause of 5 ms, like a query to another machine."""
    time.sleep(LOAD_SECONDS)
    return load(ids)


for size in sizes(KEYS):
    # A stream, so that they are never all in memory.
    warm_many(f"size{size}:{{id}}", name=f"size_{size}", ids=partial(iter, range(size)), batch_size=1_000)(
        load
    )
warm_many("slow:{id}", name="slow", ids=partial(iter, range(KEYS)), batch_size=BATCH)(load_slowly)
warm_many("quick:{id}", name="quick", ids=partial(iter, range(KEYS)), batch_size=BATCH)(load)
