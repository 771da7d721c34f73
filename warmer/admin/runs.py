"""The ledger: the history of runs, and the page of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseBase,
    HttpResponseNotAllowed,
    JsonResponse,
)
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from warmer import runs
from warmer.admin import cells, permissions
from warmer.admin.export import MOST_ROWS, as_csv, as_json
from warmer.admin.filters import MOST_LISTED, CappedPaginator, JobFilter
from warmer.admin.log import log_run, reason
from warmer.admin.log_in import action_of
from warmer.admin.read_only import ReadOnlyAdmin
from warmer.admin.run_page import details, parts
from warmer.declarations.registry import jobs
from warmer.models import WarmingRun
from warmer.report import Outcome

_FORMATS: dict[str, Callable[[Any], HttpResponseBase]] = {"csv": as_csv, "json": as_json}


@admin.register(WarmingRun)
class WarmingRunAdmin(ReadOnlyAdmin):
    """The runs."""

    list_display = ("run", "name", "state", "keys", "duration", "asked", "requested")
    list_filter = (JobFilter, "state", "trigger", "requested_at")
    list_select_related = ("requested_by",)
    list_per_page = 50
    show_full_result_count = False
    paginator = CappedPaginator
    # They would count all runs for each choice.
    show_facets = admin.ShowFacets.NEVER

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        cancel = action_of(self.admin_site, self.cancel_view)
        own = [
            path("export.<str:kind>", wrap(self.export_view), name="warmer_warmingrun_export"),
            path("<int:number>/progress/", wrap(self.progress_view), name="warmer_warmingrun_progress"),
            path("<int:number>/cancel/", cancel, name="warmer_warmingrun_cancel"),
        ]
        return own + super().get_urls()

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """List the runs, newest first."""
        query = request.GET.urlencode()
        extra = {
            "title": "Runs",
            "query": f"?{query}" if query else "",
            "most_listed": MOST_LISTED,
            "most_rows": MOST_ROWS,
        }
        return super().changelist_view(request, (extra_context or {}) | extra)

    def export_view(self, request: HttpRequest, kind: str) -> HttpResponseBase:
        """Download the runs that the same filters list."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if kind not in _FORMATS:
            raise Http404("Runs are exported as csv or json.")
        try:
            listed = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            return HttpResponseBadRequest("There is no such filter.")
        return _FORMATS[kind](listed)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a run."""
        if not self.has_view_permission(request) or request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        run = self.get_object(request, object_id)
        if run is None:
            raise Http404("There is no such run. Old ones are forgotten: see WARMER_RUN_RETENTION.")
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Run {run.pk} of {run.job}",
            "may_cancel": request.user.has_perm(permissions.CANCEL) and not run.is_final,
            **_shown(request, run),
        }
        return TemplateResponse(request, "admin/warmer/warmingrun/page.html", context)

    def progress_view(self, request: HttpRequest, number: int) -> HttpResponse:
        """Answer how a run gets on, as JSON, with the parts of its page that this changes."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        run = WarmingRun.objects.select_related("requested_by").filter(pk=number).first()
        if run is None:
            raise Http404("There is no such run.")
        shown = _shown(request, run)
        told = shown["progress"] | {"parts": parts(shown)}
        return JsonResponse(told, headers={"Cache-Control": "no-store"})

    def cancel_view(self, request: HttpRequest, number: int) -> HttpResponse:
        """Cancel a run; by POST only."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm(permissions.CANCEL):
            raise PermissionDenied
        run = WarmingRun.objects.filter(pk=number).first()
        if run is None:
            raise Http404("There is no such run.")
        why = reason(request)
        if runs.cancel(run, str(request.user), why):
            log_run(request.user, run, "Cancelled.", why)
            how = "had not begun" if run.started_at is None else "ends at its next batch"
            messages.success(request, f"Cancelled: run {run.pk} of {run.job} {how}.")
        else:
            run.refresh_from_db()
            messages.info(request, f"Run {run.pk} had ended already: it is {run.state}.")
        if not self.has_view_permission(request):
            return redirect("admin:index")
        return redirect("admin:warmer_warmingrun_change", run.pk)

    @admin.display(description="run", ordering="id")
    def run(self, run: WarmingRun) -> str:
        """The run's number, which leads to its page."""
        return str(run.pk)

    @admin.display(description="job", ordering="job")
    def name(self, run: WarmingRun) -> SafeString:
        """The job, which a narrow column breaks at its underscores."""
        return cells.name(run.job)

    @admin.display(description="asked for by")
    def asked(self, run: WarmingRun) -> str:
        """The trigger, and who pulled it."""
        return run.trigger if run.requested_by is None else f"{run.trigger}: {run.requested_by}"

    @admin.display(description="requested at", ordering="requested_at")
    def requested(self, run: WarmingRun) -> SafeString:
        """When it was asked for, to the second; on two lines where there is no room."""
        return cells.moment(run.requested_at)

    @admin.display(description="keys")
    def keys(self, run: WarmingRun) -> str:
        """The outcomes that occurred, counted."""
        return cells.counts(run, (outcome.value for outcome in Outcome))

    @admin.display(description="took")
    def duration(self, run: WarmingRun) -> str:
        """How long the run took, or takes so far."""
        return "" if run.took is None else f"{run.took:.2f}\N{NO-BREAK SPACE}s"


def _shown(request: HttpRequest, run: WarmingRun) -> dict[str, Any]:
    """Return what the page of a run shows of it, to this user."""
    return {
        "run": run,
        "is_declared": run.job in jobs,
        "may_see_jobs": permissions.may_see_jobs(request.user),
        **details(run),
    }
