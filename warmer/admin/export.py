"""Runs as CSV: streamed, bounded, and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponseBase, StreamingHttpResponse

from warmer.models import WarmingRun
from warmer.report import Outcome

MAX_ROWS = 100_000
CHUNK = 1_000
_FIELDS = (
    *("pk", "job", "trigger", "requested_by", "state"),
    *("requested_at", "started_at", "finished_at", "took", "batches_done", "batches_total"),
    *(outcome.value for outcome in Outcome),
    *("queries", "seconds", "worker", "error"),
)
# The columns with other names than their fields.
_COLUMNS = {"pk": "run", "took": "took_seconds", "seconds": "work_seconds"}
# A spreadsheet takes text that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class _Echo:
    """A file whose `write` returns what it is given."""

    def write(self, text: str) -> str:
        return text


def download(runs: QuerySet[WarmingRun]) -> HttpResponseBase:
    """Return runs as a file, newest first."""
    headers = {"Content-Disposition": 'attachment; filename="runs.csv"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(_csv(runs), content_type="text/csv; charset=utf-8", headers=headers)


def _csv(runs: QuerySet[WarmingRun]) -> Iterator[str]:
    """Yield lines, from chunks by the ids of the runs: no query is open while a slow client reads."""
    writer = csv.writer(_Echo())
    yield writer.writerow(_COLUMNS.get(name, name) for name in _FIELDS)
    newest_first, left = runs.order_by("-pk"), MAX_ROWS
    chunk = newest_first
    while left > 0 and (found := list(chunk[: min(CHUNK, left)])):
        for run in found:
            yield writer.writerow(_cell(getattr(run, name)) for name in _FIELDS)
        left -= len(found)
        chunk = newest_first.filter(pk__lt=found[-1].pk)


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
