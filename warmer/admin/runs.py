"""The runs: their list and its export, and the page of each run, which follows its progress."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Max, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator, format_lazy

from warmer import runs, tasks
from warmer.admin import base, health
from warmer.admin.actions import Action, perform, warm
from warmer.admin.base import JobFilter, ReadOnlyAdmin, log, url
from warmer.declarations.registry import jobs
from warmer.models import State, WarmingRun
from warmer.report import Outcome

BATCHES_SHOWN = 50
WORKERS_SHOWN = 20
ERROR_LENGTH = 100
PHASES = ("load", "encode", "write", "wait")
RETRY = Action(name="retry", label="Retry", permission=base.WARM, perform=warm)
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
# A batch that is loading when its run is cancelled still counts. Most take less time than this.
SETTLING = timedelta(minutes=1)


@admin.register(WarmingRun)
class WarmingRunAdmin(ReadOnlyAdmin):
    """The list and the pages of runs."""

    list_display = ("id", "job", "status", "keys", "took", "requested", "requester")
    list_filter = (JobFilter, "state", "trigger", "requested_at")
    page_template = "admin/warmer/run.html"
    counted = tuple(Outcome)
    gone = "This run does not exist. Old runs are deleted: see WARMER_RUN_RETENTION."

    def get_urls(self) -> list[URLPattern]:
        export = self._view(self.export_view)
        return [path("export.<str:kind>", export, name="warmer_warmingrun_export"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """List the runs, newest first."""
        return super().changelist_view(request, {"max_listed": base.MAX_LISTED, "max_rows": MAX_ROWS})

    def export_view(self, request: HttpRequest, kind: str) -> HttpResponseBase:
        """Download the runs that the list shows with the same filters."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if kind not in KINDS:
            raise Http404("Runs are exported as csv or json.")
        try:
            listed = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            return HttpResponse("There is no such filter.", status=400)
        content_type, parts = KINDS[kind]
        headers = {"Content-Disposition": f'attachment; filename="runs.{kind}"', "Cache-Control": "no-store"}
        return StreamingHttpResponse(parts(_rows(listed)), content_type=content_type, headers=headers)

    def act(self, request: HttpRequest, row: WarmingRun) -> HttpResponse:
        """Cancel a run, or retry its failed keys."""
        shown = row
        match request.POST.get("action"):
            case "retry" if self._may_retry(request, row):
                keys = [failure["key"] for failure in row.failures]
                shown = next(iter(perform(request, RETRY, [jobs[row.job].spec], only_keys=keys)), row)
            case "cancel" if request.user.has_perm(base.CANCEL):
                self._cancel(request, row)
            case _:
                raise PermissionDenied
        if not self.has_view_permission(request):
            return redirect(url(request, "index"))
        return redirect(url(request, "warmer_warmingrun_change", shown.pk))

    def _cancel(self, request: HttpRequest, row: WarmingRun) -> None:
        if runs.cancel(row, str(request.user), base.reason(request)):
            log(request, row, "Cancelled.")
            how = "ends at its next batch" if row.started_at else "had not started"
            messages.success(request, f"Cancelled: run {row.pk} of {row.job} {how}.")
        else:
            row.refresh_from_db()
            messages.info(request, f"Run {row.pk} had already ended: it is {row.state}.")

    def _may_retry(self, request: HttpRequest, row: WarmingRun) -> bool:
        return bool(row.is_final and row.failures and row.job in jobs and request.user.has_perm(base.WARM))

    def page(self, request: HttpRequest, row: WarmingRun) -> dict[str, Any]:
        """Return the context of a run's page, with a limited number of queries and rows."""
        report, took = row.report, row.took or 0.0
        share = _progress(row)
        batches = row.batches.filter(recorded_at__isnull=False)
        by_worker = batches.values("worker").order_by().annotate(count=Count("pk"), last=Max("recorded_at"))
        workers = list(by_worker.order_by("-count", "worker")[:WORKERS_SHOWN])
        phases = [(name, getattr(row, f"{name}_seconds")) for name in PHASES]
        measured = sum(seconds for _, seconds in phases)
        return super().page(request, row) | {
            "may_cancel": request.user.has_perm(base.CANCEL) and not row.is_final,
            "may_retry": self._may_retry(request, row),
            "is_settled": _is_settled(row),
            "lacks_workers": _lacks_workers(row),
            "percent": None if share is None else round(100 * share),
            "total_keys": report.keys,
            "keys_per_second": (report.keys - report.failed) / took if took else None,
            "seconds_left": took * (1 - share) / share if share and not row.is_final else None,
            "failures": sorted(self.with_pages(request, row, row.failures), key=itemgetter("error")),
            "more_failures": max(0, row.failed - len(row.failures)),
            **_neighbours(row),
            "phases": [(name, seconds, seconds / measured) for name, seconds in phases if measured],
            "workers": workers,
            "kept_batches": sum(each["count"] for each in workers),
            "batches": batches.defer("ids").order_by("-recorded_at", "-number")[:BATCHES_SHOWN],
            "more_batches": max(0, row.batches_done - BATCHES_SHOWN),
        }

    @admin.display(description="state", ordering="state")
    def status(self, run: WarmingRun) -> SafeString:
        """The state, with its mark."""
        return base.state(run.state)

    @admin.display(description="keys")
    def keys(self, row: WarmingRun) -> SafeString:
        """The counts that are not 0, and the first line of the error."""
        error = Truncator(row.error.partition("\n")[0]).chars(ERROR_LENGTH)
        return format_html('{} <span class="warmer-quiet warmer-long">{}</span>', super().keys(row), error)

    @admin.display(description="requested by")
    def requester(self, run: WarmingRun) -> str:
        """The trigger, and the user."""
        return f"{run.trigger} (user {run.requested_by})" if run.requested_by else run.trigger

    @admin.display(description=format_lazy("requested ({})", base.ZONE), ordering="requested_at")
    def requested(self, run: WarmingRun) -> SafeString:
        """When it was requested."""
        return base.moment(run.requested_at)

    @admin.display(description="took")
    def took(self, run: WarmingRun) -> str:
        """How long the run took, or has taken so far."""
        return "" if run.took is None else f"{run.took:.2f}\N{NO-BREAK SPACE}s"


def _progress(run: WarmingRun) -> float | None:
    """Return the progress of a run: by batches or, until their number is known, by the last run's keys."""
    if run.state == State.COMPLETE:
        return 1.0
    if run.batches_total is not None:
        return min(1.0, run.batches_done / run.batches_total) if run.batches_total else 1.0
    if run.is_final or not run.report.keys:
        return None
    alike = WarmingRun.objects.filter(job=run.job, state=State.COMPLETE, only_missing=run.only_missing)
    last = alike.filter(pk__lt=run.pk, only_keys__isnull=run.only_keys is None).first()
    return min(0.99, run.report.keys / last.report.keys) if last and last.report.keys else None


def _neighbours(run: WarmingRun) -> Mapping[str, Any]:
    """Return the ids of the job's previous and following runs: two steps in an index, in one query."""
    of_job = WarmingRun.objects.filter(job=run.job).values("pk")
    previous = Subquery(of_job.filter(pk__lt=run.pk).order_by("-pk")[:1])
    following = Subquery(of_job.filter(pk__gt=run.pk).order_by("pk")[:1])
    return WarmingRun.objects.filter(pk=run.pk).values(previous=previous, following=following).first() or {}


def _lacks_workers(run: WarmingRun) -> bool:
    """Return whether a run is queued, and no worker answers that could take it."""
    is_queued = run.state == State.QUEUED and run.job in jobs and tasks.has_broker()
    return is_queued and health.lacks_workers(jobs[run.job].spec.queue)


def _is_settled(run: WarmingRun) -> bool:
    """Return whether the counts of a run are final."""
    if run.state != State.CANCELLED or run.started_at is None:
        return run.is_final
    times = (run.started_at, run.heartbeat_at, run.finished_at)
    return timezone.now() - max(time for time in times if time is not None) > SETTLING


class _Echo:
    """A file whose `write` returns its argument."""

    def write(self, text: str) -> str:
        return text


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


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)  # seconds
    if value is None or isinstance(value, int):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)


KINDS = {"csv": ("text/csv; charset=utf-8", _csv), "json": ("application/json", _json)}
