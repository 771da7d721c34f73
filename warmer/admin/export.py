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
COLUMNS = (
    *("run", "job", "trigger", "requested_by", "state"),
    *("requested_at", "started_at", "finished_at", "took_seconds", "batches_done", "batches_total"),
    *(outcome.value for outcome in Outcome),
    *("queries", "work_seconds", "worker", "error"),
)
# The attributes of a run with other names than their columns.
ATTRIBUTES = {"run": "pk", "took_seconds": "took", "work_seconds": "seconds"}
# A spreadsheet takes text that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

Rows = Iterator[dict[str, Any]]


class _Echo:
    """A file whose `write` returns what it is given."""

    def write(self, text: str) -> str:
        return text


def download(runs: QuerySet[WarmingRun]) -> HttpResponseBase:
    """Return runs as a file, newest first."""
    headers = {"Content-Disposition": 'attachment; filename="runs.csv"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(_csv(_rows(runs)), content_type="text/csv; charset=utf-8", headers=headers)


def _csv(rows: Rows) -> Iterator[str]:
    writer = csv.DictWriter(_Echo(), COLUMNS)
    yield writer.writeheader()
    for row in rows:
        texts = {name: f"'{value}" for name, value in row.items() if str(value).startswith(_FORMULA)}
        yield writer.writerow(row | texts)


def _rows(runs: QuerySet[WarmingRun]) -> Rows:
    """Yield runs in chunks of `CHUNK`, by their ids: no query is open while a slow client reads."""
    newest_first, left = runs.order_by("-pk"), MAX_ROWS
    chunk = newest_first
    while left > 0 and (found := list(chunk[: min(CHUNK, left)])):
        for run in found:
            yield {name: _plain(getattr(run, ATTRIBUTES.get(name, name))) for name in COLUMNS}
        left -= len(found)
        chunk = newest_first.filter(pk__lt=found[-1].pk)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, int | float) else str(value)
