"""The batches of a run, written to the database for workers to take.

A message to a worker names a lane: a range of batches to process in order. It contains no ids, so neither the
broker nor a worker ever holds all of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from warmer.keys import Batch, Id
from warmer.models import State, WarmingBatch, WarmingRun

# Batches that one statement writes.
CHUNK = 20
# Batches of an ended run that are kept, to show which worker executed them.
KEPT = 200


def write(run: WarmingRun, batches: Iterable[Batch]) -> Iterator[int]:
    """Write batches as they come, numbered from 1; yield their number so far."""
    rest, number = iter(batches), 0
    while some := list(islice(rest, CHUNK)):
        WarmingBatch.objects.bulk_create(
            WarmingBatch(run_id=run.pk, number=number, ids=_packed(keys.values()))
            for number, keys in enumerate(some, start=number + 1)
        )
        number += len(some)
        yield number


def lanes(batches: int, *, at_most: int) -> list[tuple[int, int]]:
    """Divide batches among lanes of nearly equal length.

    Returns:
        The first and the last batch of each lane.
    """
    count = min(batches, at_most)
    ends = [batches * lane // count for lane in range(count + 1)]
    return [(first + 1, last) for first, last in pairwise(ends)]


def take(run_id: int, attempt: int, first: int, last: int, *, at_most: int) -> list[WarmingBatch]:
    """Return the first uncounted batches of a lane, each with its run.

    Returns:
        Nothing if they are all counted, or if the run has ended or was started again.
    """
    rows = WarmingBatch.objects.select_related("run").filter(
        run_id=run_id,
        run__attempt=attempt,
        run__state=State.RUNNING,
        number__range=(first, last),
        recorded_at=None,
    )
    return list(rows.order_by("number")[:at_most])


def ids_of(batch: WarmingBatch) -> list[Id]:
    """Return the ids to load."""
    return [UUID(each["uuid"]) if isinstance(each, dict) else each for each in batch.ids or ()]


def mark_counted(run: WarmingRun, numbers: list[int], *, worker: str) -> list[int]:
    """Mark batches of a locked run as counted; return those that were not counted before."""
    rows = WarmingBatch.objects.filter(run_id=run.pk)
    counted = set(rows.filter(number__in=numbers, recorded_at__isnull=False).values_list("number", flat=True))
    new = [number for number in numbers if number not in counted]
    done = {"ids": None, "worker": worker, "recorded_at": timezone.now()}
    updated = rows.filter(number__in=new).update(**done)
    if updated < len(new):  # not written in advance, as by a run in one process
        missing = [WarmingBatch(run_id=run.pk, number=number, **done) for number in new]
        WarmingBatch.objects.bulk_create(missing, ignore_conflicts=True)
    return new


def clear(run: WarmingRun) -> None:
    """Delete the batches of an ended run that were not executed, and all but the first of the others."""
    unwanted = Q(recorded_at=None)
    if run.state != State.CANCELLED:  # a batch in progress still has to be counted, once
        unwanted |= Q(number__gt=KEPT)
    run.batches.filter(unwanted).delete()


def _packed(ids: Iterable[Id | None]) -> Sequence[Any]:
    """Return ids as JSON that preserves their types."""
    return [{"uuid": str(each)} if isinstance(each, UUID) else each for each in ids]
