"""The runs and the audits: the list of each, the export of runs, and the page of each run and audit."""

import csv
from operator import itemgetter
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Max
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import URLPattern, re_path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from warmer import runs
from warmer.admin import base, health
from warmer.admin.actions import Action, perform, warm
from warmer.admin.base import JobFilter, ReadOnlyAdmin, log, url
from warmer.declarations.registry import jobs
from warmer.models import CacheAudit, State, Verdict, WarmingRun
from warmer.report import Outcome

BATCHES_SHOWN = 50
ERROR_LENGTH = 100
PHASES = ("load", "encode", "write", "wait")
RETRY = Action(label="Retry", permission=base.WARM, perform=warm)
# The columns of the export, and the attributes of those that are named otherwise.
_COLUMNS = (
    *("run", "job", "trigger", "requested_by", "state"),
    *("requested_at", "started_at", "finished_at", "took_seconds", "batches_done", "batches_total"),
    *(outcome.value for outcome in Outcome),
    *("queries", "work_seconds", "worker", "error"),
)
_ATTRIBUTES = {"run": "pk", "took_seconds": "took", "work_seconds": "seconds"}
# A spreadsheet interprets text that begins with one of these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@admin.register(WarmingRun)
class WarmingRunAdmin(ReadOnlyAdmin):
    """The list and the pages of runs."""

    list_display = ("id", "job_link", "status", "keys", "took", "requested_at", "requester")
    list_filter = (JobFilter, "state", "trigger", "requested_at")
    page_template = "admin/warmer/run.html"
    counted = tuple(Outcome)

    def get_urls(self) -> list[URLPattern]:
        export = self._view(self.export_view)
        name = "warmer_warmingrun_export"
        return [re_path(r"^export\.(?P<kind>csv|json)$", export, name=name), *super().get_urls()]

    def export_view(self, request: HttpRequest, kind: str) -> HttpResponse:
        """Download the runs that the list shows with the same filters."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            listed = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            return HttpResponse("There is no such filter.", status=400)
        found = listed.order_by("-pk").defer("failures", "only_keys")[: base.CappedPaginator.cap]
        rows = [{name: getattr(run, _ATTRIBUTES.get(name, name)) for name in _COLUMNS} for run in found]
        headers = {"Content-Disposition": f'attachment; filename="runs.{kind}"', "Cache-Control": "no-store"}
        if kind == "json":
            return JsonResponse(rows, safe=False, headers=headers)
        response = HttpResponse(content_type="text/csv; charset=utf-8", headers=headers)
        writer = csv.writer(response)
        writer.writerow(_COLUMNS)
        writer.writerows(map(_escaped, row.values()) for row in rows)
        return response

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
        return redirect(url(request, "warmer_warmingrun_change", shown.pk))

    def _cancel(self, request: HttpRequest, row: WarmingRun) -> None:
        if runs.cancel(row, str(request.user), base.reason(request)):
            log(request, row.job, f"Cancelled run {row.pk}.")
            how = "ends at its next batch" if row.started_at else "had not started"
            messages.success(request, f"Cancelled: run {row.pk} of {row.job} {how}.")
        else:
            messages.info(request, f"Run {row.pk} had already ended.")

    def _may_retry(self, request: HttpRequest, row: WarmingRun) -> bool:
        return bool(row.is_final and row.failures and row.job in jobs and request.user.has_perm(base.WARM))

    def page(self, request: HttpRequest, row: WarmingRun) -> dict[str, Any]:
        """Return the context of a run's page, with a limited number of queries and rows."""
        report, took = row.report, row.took or 0.0
        share = _progress(row)
        batches = row.batches.filter(recorded_at__isnull=False)
        by_worker = batches.values("worker").order_by().annotate(count=Count("pk"), last=Max("recorded_at"))
        workers = list(by_worker.order_by("-count", "worker"))
        phases = [(name, getattr(row, f"{name}_seconds")) for name in PHASES]
        measured = sum(seconds for _, seconds in phases)
        return super().page(request, row) | {
            "may_cancel": request.user.has_perm(base.CANCEL) and not row.is_final,
            "may_retry": self._may_retry(request, row),
            "lacks_workers": row.state == State.QUEUED
            and row.job in jobs
            and health.lacks_workers(jobs[row.job].spec.queue),
            "percent": None if share is None else round(100 * share),
            "total_keys": report.keys,
            "keys_per_second": (report.keys - report.failed) / took if took else None,
            "seconds_left": took * (1 - share) / share if share and not row.is_final else None,
            "failures": sorted(self.with_pages(request, row, row.failures), key=itemgetter("error")),
            "more_failures": max(0, row.failed - len(row.failures)),
            "phases": [(name, seconds, seconds / measured) for name, seconds in phases if measured],
            "workers": workers,
            "kept_batches": sum(each["count"] for each in workers),
            "batches": batches.defer("ids").order_by("-recorded_at", "-number")[:BATCHES_SHOWN],
            "more_batches": max(0, row.batches_done - BATCHES_SHOWN),
        }

    @admin.display(description="state", ordering="state")
    def status(self, run: WarmingRun) -> SafeString:
        return base.state(run.state)

    @admin.display(description="keys")
    def keys(self, row: WarmingRun) -> SafeString:
        """The counts that are not 0, and the first line of the error."""
        error = Truncator(row.error.partition("\n")[0]).chars(ERROR_LENGTH)
        return format_html('{} <span class="warmer-quiet warmer-long">{}</span>', super().keys(row), error)

    @admin.display(description="requested by")
    def requester(self, run: WarmingRun) -> str:
        return f"{run.trigger} (user {run.requested_by})" if run.requested_by else run.trigger

    @admin.display(description="took")
    def took(self, run: WarmingRun) -> str:
        return "" if run.took is None else f"{run.took:.2f} s"


class WrongFilter(admin.SimpleListFilter):
    title, parameter_name = "wrong keys", "wrong"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "found"), ("no", "none")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        found = {"yes": {"wrong__gt": 0}, "no": {"wrong": 0}}
        return queryset.filter(**found.get(self.value() or "", {}))


@admin.register(CacheAudit)
class CacheAuditAdmin(ReadOnlyAdmin):
    """The list and the pages of audits."""

    list_display = ("id", "job_link", "trigger", "result", "keys", "finished_at")
    list_filter = (JobFilter, WrongFilter, "trigger")
    page_template = "admin/warmer/audit.html"
    counted = tuple(Verdict)

    def page(self, request: HttpRequest, row: CacheAudit) -> dict[str, Any]:
        return super().page(request, row) | {
            "may_repair": row.unrepaired and row.job in jobs and request.user.has_perm(base.INVALIDATE),
            "wrong_keys": self.with_pages(request, row, row.wrong_keys),
            "failures": self.with_pages(request, row, row.failures),
        }

    @admin.display(description="result")
    def result(self, audit: CacheAudit) -> SafeString:
        """How many keys are right, and what this implies for all keys."""
        mark = "warmer-warning" if audit.needs_attention else ""
        text = '<span class="{}">{}</span> <span class="warmer-quiet">{}</span>'
        return format_html(text, mark, audit_result(audit), audit_confidence(audit))


def audit_result(audit: CacheAudit) -> str:
    """Return the result of an audit, e.g. "99 of 100 right"."""
    if compared := audit.right + audit.wrong:
        return f"{audit.right:,} of {compared:,} right"
    return f"{audit.missing:,} missing" if audit.missing else "nothing compared"


def audit_details(audit: CacheAudit) -> str:
    """Return an audit's other counts and its confidence: "1 missing; 95 % confidence: at least 97 %"."""
    compared = audit.right + audit.wrong
    names = ("wrong", "repaired", "missing", "failed") if compared else ("failed",)
    return "; ".join(filter(None, [base.counts(audit, names), audit_confidence(audit)]))


def audit_confidence(audit: CacheAudit) -> str:
    """Return what a sample of right keys implies for all; nothing if every key was compared, or none."""
    is_sample = audit.right and not audit.wrong and not audit.whole
    return f"95 % confidence: {audit.share}" if is_sample else ""


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


def _escaped(value: Any) -> Any:
    """Return a value that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
