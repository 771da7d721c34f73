"""The batches of a run, written down for workers to take one after the other.

A message to a worker names a batch and holds no ids, and only some messages of a run are under way at a
time: who has done a batch sends for the next one. So neither the broker nor a worker ever holds all the ids,
and what a killed worker had in hand is one batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from warmer.keys import Batch, Id
from warmer.models import State, WarmingBatch, WarmingRun

# How many batches are written down in one statement.
CHUNK = 20
# The batches of an ended run are kept, for they say which worker did them; of a long one only the first.
KEPT = 200


def write_down(run: WarmingRun, batches: Iterable[Batch]) -> Iterator[int]:
    """Write batches down as they come, numbered from 1; yield how many there are so far."""
    rest, number = iter(batches), 0
    while some := list(islice(rest, CHUNK)):
        WarmingBatch.objects.bulk_create(
            WarmingBatch(run_id=run.pk, number=number + place, ids=_packed(keys.values()))
            for place, keys in enumerate(some, start=1)
        )
        number += len(some)
        yield number


def take(run_id: int, attempt: int, number: int) -> WarmingBatch | None:
    """Return a batch, with its run; None when it is no longer wanted.

    One that was counted is returned as well: its worker may have been killed before it sent for the next.
    """
    rows = WarmingBatch.objects.select_related("run")
    return rows.filter(run_id=run_id, number=number, run__attempt=attempt, run__state=State.RUNNING).first()


def ids_of(batch: WarmingBatch) -> list[Id]:
    """Return the ids that are to be loaded."""
    return [UUID(each["uuid"]) if isinstance(each, dict) else each for each in batch.ids or ()]


def count_once(run: WarmingRun, number: int, *, worker: str, then: int | None) -> bool:
    """Note that a batch is done; call it under the run's lock.

    Args:
        then: the batch that is to be sent for next.

    Returns:
        Whether it was not noted before.
    """
    done = {"ids": None, "worker": worker, "recorded_at": timezone.now(), "successor": then}
    row = WarmingBatch.objects.filter(run_id=run.pk, number=number)
    if row.filter(recorded_at=None).update(**done):
        return True
    _, is_new = WarmingBatch.objects.get_or_create(run_id=run.pk, number=number, defaults=done)
    return is_new


def note_done(run: WarmingRun, numbers: Iterable[int], *, worker: str) -> None:
    """Note batches that were never written down: of a run in one process, which counts them itself."""
    now = timezone.now()
    WarmingBatch.objects.bulk_create(
        WarmingBatch(run_id=run.pk, number=number, worker=worker, recorded_at=now) for number in numbers
    )


def clear(run: WarmingRun) -> None:
    """Forget what an ended run leaves: batches that nobody will do, and of the others all but the first."""
    left = Q(recorded_at=None)
    if run.state != State.CANCELLED:  # of which a batch in hand is counted yet, and must be so once
        left |= Q(number__gt=KEPT)
    run.batches.filter(left).delete()


def _packed(ids: Iterable[Id | None]) -> Sequence[Any]:
    """Return ids as JSON keeps them, with their types."""
    return [{"uuid": str(each)} if isinstance(each, UUID) else each for each in ids]
