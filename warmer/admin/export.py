"""Runs as CSV or JSON: streamed, bounded, and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import json
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
_OTHER_NAMES = {"pk": "run", "took": "took_seconds", "seconds": "work_seconds"}
_COLUMNS = [_OTHER_NAMES.get(name, name) for name in _FIELDS]
# A spreadsheet interprets text that begins with one of these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class _Echo:
    """A file whose `write` returns its argument."""

    def write(self, text: str) -> str:
        return text


def download(runs: QuerySet[WarmingRun], kind: str) -> HttpResponseBase:
    """Return runs as a file of one of `KINDS`, newest first."""
    content_type, parts = KINDS[kind]
    headers = {"Content-Disposition": f'attachment; filename="runs.{kind}"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(parts(_rows(runs)), content_type=content_type, headers=headers)


def _rows(runs: QuerySet[WarmingRun]) -> Iterator[list[Any]]:
    """Yield the fields of runs in chunks, so that no query is open while a slow client reads."""
    newest_first, left = runs.order_by("-pk"), MAX_ROWS
    chunk = newest_first
    while left > 0 and (found := list(chunk[: min(CHUNK, left)])):
        yield from ([_plain(getattr(run, name)) for name in _FIELDS] for run in found)
        left -= len(found)
        chunk = newest_first.filter(pk__lt=found[-1].pk)


def _csv(rows: Iterator[list[Any]]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(_COLUMNS)
    for row in rows:
        yield writer.writerow(
            f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value for value in row
        )


def _json(rows: Iterator[list[Any]]) -> Iterator[str]:
    """Yield an array of objects."""
    start = "["
    for row in rows:
        yield f"{start}\n{json.dumps(dict(zip(_COLUMNS, row, strict=True)))}"
        start = ","
    yield "[]\n" if start == "[" else "\n]\n"


KINDS = {"csv": ("text/csv; charset=utf-8", _csv), "json": ("application/json", _json)}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)  # seconds
    if value is None or isinstance(value, int):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)
