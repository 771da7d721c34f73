"""Old runs: deleted some time after their end."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from warmer.models import ACTIVE, WarmingRun
from warmer.runs.history import last_numbers

# Of runs that are forgotten in one transaction, each with its batches.
CHUNK = 500


def forget(*, before: datetime, newest_of: Iterable[str] = ()) -> int:
    """Delete the runs that ended before a time, in chunks, so that no transaction is long.

    Args:
        newest_of: the jobs whose newest run is kept, however old it is.

    Returns:
        How many were deleted.
    """
    kept = set(last_numbers(newest_of))
    forgotten, last = 0, 0
    while True:
        # Nothing ends before it was asked for: so the index on that time serves.
        old = WarmingRun.objects.filter(requested_at__lt=before, finished_at__lt=before, pk__gt=last)
        numbers = list(old.exclude(state__in=ACTIVE).order_by("pk").values_list("pk", flat=True)[:CHUNK])
        if not numbers:
            return forgotten
        last = numbers[-1]
        chunk = [number for number in numbers if number not in kept]
        WarmingRun.objects.filter(pk__in=chunk).delete()
        forgotten += len(chunk)
