"""The page of an audit: what was compared, and what was wrong."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from warmer.admin import cells
from warmer.admin.read_only import ReadOnlyAdmin
from warmer.models import CacheAudit, Verdict
from warmer.models.audits import KEPT_PER_JOB


@admin.register(CacheAudit)
class CacheAuditAdmin(ReadOnlyAdmin):
    """The kept audits."""

    list_display = ("number", "name", "trigger", "share", "keys", "finished")
    list_filter = ("trigger",)
    search_fields = ("=job",)
    search_help_text = "The name of a job"
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    fieldsets = (
        (None, {"fields": ("job", "trigger", "started_at", "finished_at", "share", "note", "error")}),
        (
            "Keys",
            {
                "fields": (
                    *("whole", "sampled", "right", "wrong", "missing", "no_value", "changed", "failed"),
                    *("undeclared", "repaired", "queries"),
                )
            },
        ),
        ("First of them", {"fields": ("wrong_ones", "failed_ones")}),
    )

    class Media:
        css: ClassVar = {"all": ["warmer/admin.css"]}

    readonly_fields = ("share", "wrong_ones", "failed_ones")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """List the audits, newest first."""
        return super().changelist_view(request, (extra_context or {}) | {"title": "Audits"})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show an audit."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method != "POST" and self.get_object(request, unquote(object_id)) is None:
            raise Http404(f"There is no such audit. The last {KEPT_PER_JOB} of each job are kept.")
        return super().change_view(request, object_id, form_url, extra_context)

    @admin.display(description="audit", ordering="id")
    def number(self, audit: CacheAudit) -> str:
        """The audit's number, which leads to its page."""
        return str(audit.pk)

    @admin.display(description="job", ordering="job")
    def name(self, audit: CacheAudit) -> SafeString:
        """The job."""
        return cells.name(audit.job)

    @admin.display(description="keys")
    def keys(self, audit: CacheAudit) -> str:
        """The verdicts that occurred, counted: one column that can break, where six would be cut off."""
        return cells.counts(audit, (verdict.value for verdict in Verdict))

    @admin.display(description="finished at", ordering="finished_at")
    def finished(self, audit: CacheAudit) -> SafeString:
        """When it ended."""
        return cells.moment(audit.finished_at)

    @admin.display(description="right share")
    def share(self, audit: CacheAudit) -> str:
        """The share that is right; of a sample, the least of it."""
        return audit.share

    @admin.display(description="wrong keys")
    def wrong_ones(self, audit: CacheAudit) -> SafeString:
        """The first wrong keys, with the fields that differ."""
        rows = ((each["key"], ", ".join(each["fields"])) for each in audit.wrong_keys)
        return format_html_join("", "<div><code>{}</code>: {}</div>", rows)

    @admin.display(description="failed keys")
    def failed_ones(self, audit: CacheAudit) -> SafeString:
        """The first failed keys, with their errors."""
        rows = ((each["key"], each["error"]) for each in audit.failures)
        return format_html_join("", "<div><code>{}</code>: {}</div>", rows)
