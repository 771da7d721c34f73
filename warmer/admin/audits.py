"""The page of an audit: what was compared, and what was wrong."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from warmer import auditing
from warmer.admin.read_only import ReadOnlyAdmin
from warmer.models import CacheAudit


@admin.register(CacheAudit)
class CacheAuditAdmin(ReadOnlyAdmin):
    """The kept audits."""

    list_display = ("number", "job", "trigger", "share", "sampled", "wrong", "failed", "finished_at")
    list_filter = ("trigger",)
    search_fields = ("=job",)
    search_help_text = "The name of a job"
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    fieldsets = (
        (None, {"fields": ("job", "trigger", "started_at", "finished_at", "share", "error")}),
        (
            "Keys",
            {
                "fields": (
                    *("whole", "sampled", "right", "wrong", "missing", "absent", "changed", "failed"),
                    *("undeclared", "repaired", "queries"),
                )
            },
        ),
        ("First of them", {"fields": ("wrong_ones", "failed_ones")}),
    )
    readonly_fields = ("share", "wrong_ones", "failed_ones")

    @admin.display(description="audit", ordering="id")
    def number(self, audit: CacheAudit) -> str:
        """The audit's number, which leads to its page."""
        return str(audit.pk)

    @admin.display(description="right share")
    def share(self, audit: CacheAudit) -> str:
        """The share that is right; of a sample, the least of it."""
        return auditing.kept(audit).share

    @admin.display(description="wrong keys")
    def wrong_ones(self, audit: CacheAudit) -> SafeString:
        """The first wrong keys, with the fields that differ."""
        rows = ((each.key, ", ".join(each.fields)) for each in auditing.kept(audit).wrong_keys)
        return format_html_join("", "<div><code>{}</code>: {}</div>", rows)

    @admin.display(description="failed keys")
    def failed_ones(self, audit: CacheAudit) -> SafeString:
        """The first failed keys, with their errors."""
        rows = ((each.key, each.error) for each in auditing.kept(audit).failures)
        return format_html_join("", "<div><code>{}</code>: {}</div>", rows)
