"""The batches of a run, written down for workers to take one after the other.

A message to a worker names some batches and holds no ids, and only some messages of a run are under way at
a time: who has done his batches sends for the next ones. So neither the broker nor a worker ever holds all
the ids, and what a killed worker had in hand is some tenths of a second's work, or one batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Range:
    """Batches that follow each other, by number."""

    first: int
    count: int = 1

    @property
    def last(self) -> int:
        """The number of the last."""
        return self.first + self.count - 1


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


def take(run_id: int, attempt: int, some: Range) -> list[WarmingBatch]:
    """Return batches, each with its run; none when they are no longer wanted.

    Those that were counted are returned as well: their worker may have been killed before it sent for the
    next ones.
    """
    rows = WarmingBatch.objects.select_related("run").filter(
        run_id=run_id, run__attempt=attempt, run__state=State.RUNNING
    )
    return list(rows.filter(number__range=(some.first, some.last)).order_by("number"))


def ids_of(batch: WarmingBatch) -> list[Id]:
    """Return the ids that are to be loaded."""
    return [UUID(each["uuid"]) if isinstance(each, dict) else each for each in batch.ids or ()]


def successors_of(batches: Iterable[WarmingBatch]) -> list[Range]:
    """Return what is to be sent for after batches that were counted, as it was noted with them."""
    return [Range(first=each.successor, count=each.successors) for each in batches if each.successor]


def ranges(batches: int, *, each: int, at_most: int) -> list[Range]:
    """Return the first of so many batches as ranges of `each`, and of the ranges no more than `at_most`."""
    firsts = range(1, batches + 1, each)[:at_most]
    return [Range(first=first, count=min(each, batches - first + 1)) for first in firsts]


def uncounted(run: WarmingRun, numbers: Collection[int]) -> list[int]:
    """Return those that are not counted yet, also if they were never written down; under the run's lock."""
    rows = WarmingBatch.objects.filter(run_id=run.pk, number__in=numbers, recorded_at__isnull=False)
    counted = set(rows.values_list("number", flat=True))
    return [number for number in numbers if number not in counted]


def note_done(run: WarmingRun, numbers: Sequence[int], *, worker: str, then: Range | None) -> None:
    """Note that batches are done; call it under the run's lock.

    Args:
        then: what is to be sent for next; it is noted with the first.
    """
    done = {"ids": None, "worker": worker, "recorded_at": timezone.now()}
    updated = WarmingBatch.objects.filter(run_id=run.pk, number__in=numbers).update(**done)
    if updated < len(numbers):  # of a run in one process, or one that was cancelled meanwhile
        rows = [WarmingBatch(run_id=run.pk, number=number, **done) for number in numbers]
        WarmingBatch.objects.bulk_create(rows, ignore_conflicts=True)
    if then is not None:
        first = WarmingBatch.objects.filter(run_id=run.pk, number=numbers[0])
        first.update(successor=then.first, successors=then.count)


def clear(run: WarmingRun) -> None:
    """Forget what an ended run leaves: batches that nobody will do, and of the others all but the first."""
    left = Q(recorded_at=None)
    if run.state != State.CANCELLED:  # of which a batch in hand is counted yet, and must be so once
        left |= Q(number__gt=KEPT)
    run.batches.filter(left).delete()


def _packed(ids: Iterable[Id | None]) -> Sequence[Any]:
    """Return ids as JSON keeps them, with their types."""
    return [{"uuid": str(each)} if isinstance(each, UUID) else each for each in ids]
