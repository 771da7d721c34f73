"""Jobs that a test can hold in the middle."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from tests.system.slowapp import gate
from warmer import warm, warm_many


def all_ids() -> Sequence[int]:
    return gate.IDS


@warm_many("slow:{id}", ids=all_ids, timeout=timedelta(hours=1), batch_size=len(gate.BATCHES[0]))
def slow_items(ids: Sequence[int]) -> Mapping[int, dict[str, int]]:
    """Load three batches."""
    gate.stand_at(ids)
    return {id: {"id": id} for id in ids}


@warm("slow_one", timeout=timedelta(hours=1))
def slow_one() -> dict[str, int]:
    """Load one value: a run of one batch, which no task of its own is sent for."""
    gate.stand_at([gate.ONE])
    return {"id": gate.ONE}


@warm(f"{gate.LONG_NAME}:key", name=gate.LONG_NAME, timeout=timedelta(hours=1))
def long() -> int:
    """Load one value, for a job with a name that no line can hold."""
    return 1
