"""Runs as CSV or JSON: as a stream, bounded, and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponseBase, StreamingHttpResponse

from warmer.models import WarmingRun
from warmer.report import Outcome

MOST_ROWS = 100_000
CHUNK = 1_000
COLUMNS = (
    "run",
    "job",
    "trigger",
    "requested_by",
    "state",
    "requested_at",
    "started_at",
    "finished_at",
    "took_seconds",
    *("batches_done", "batches_total"),
    *(outcome.value for outcome in Outcome),
    "queries",
    "work_seconds",
    "worker",
    "error",
)
# A spreadsheet takes text that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_csv(runs: QuerySet[WarmingRun]) -> HttpResponseBase:
    """Return runs as a CSV file, newest first."""
    writer = csv.writer(_Echo())

    def lines() -> Iterator[str]:
        yield writer.writerow(COLUMNS)
        for row in _rows(runs):
            yield writer.writerow(map(_cell, row.values()))

    return _download(lines(), "text/csv; charset=utf-8", "runs.csv")


def as_json(runs: QuerySet[WarmingRun]) -> HttpResponseBase:
    """Return runs as a JSON file, an array of one object a run, newest first."""

    def parts() -> Iterator[str]:
        before = "[\n"
        for row in _rows(runs):
            yield before + json.dumps(row)
            before = ",\n"
        yield "\n]\n" if before != "[\n" else "[]\n"

    return _download(parts(), "application/json", "runs.json")


def _download(content: Iterator[str], content_type: str, name: str) -> HttpResponseBase:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(content, content_type=content_type, headers=headers)


def _rows(runs: QuerySet[WarmingRun]) -> Iterator[dict[str, Any]]:
    """Yield runs chunk by chunk, by their numbers: no long query, and no more than a chunk in memory."""
    newest_first = runs.select_related("requested_by").order_by("-pk")
    left, last = MOST_ROWS, None
    while left > 0:
        chunk = newest_first if last is None else newest_first.filter(pk__lt=last)
        found = list(chunk[: min(CHUNK, left)])
        for run in found:
            yield _row(run)
        if len(found) < CHUNK:
            return
        left -= len(found)
        last = found[-1].pk


def _row(run: WarmingRun) -> dict[str, Any]:
    values = {name: getattr(run, name, None) for name in COLUMNS}
    times = ("requested_at", "started_at", "finished_at")
    return values | {
        "run": run.pk,
        "requested_by": None if run.requested_by is None else str(run.requested_by),
        "took_seconds": run.took,
        "work_seconds": run.seconds,
        **{name: time.isoformat() if (time := getattr(run, name)) else None for name in times},
    }


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


class _Echo:
    """A file whose `write` gives back what it got."""

    def write(self, text: str) -> str:
        return text
