"""The audits: what was compared, and what was wrong."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from warmer.admin import widgets
from warmer.admin.base import JobFilter, ReadOnlyAdmin, may_see_jobs
from warmer.declarations.registry import jobs
from warmer.models import CacheAudit, Verdict
from warmer.models.audits import KEPT_PER_JOB


@admin.register(CacheAudit)
class CacheAuditAdmin(ReadOnlyAdmin):
    """The kept audits."""

    list_display = ("id", "name", "trigger", "result", "keys", "finished")
    list_filter = (JobFilter, "trigger")
    page_template = "admin/warmer/audit.html"
    counted = tuple(Verdict)
    gone = f"This audit does not exist. The last {KEPT_PER_JOB} of each job are kept."

    def page(self, request: HttpRequest, row: CacheAudit) -> dict[str, Any]:
        """Return the context of an audit's page."""
        return {
            "title": f"Audit {row.pk} of {row.job}",
            "audit": row,
            "counts": self.counts(row),
            "job_is_linked": row.job in jobs and may_see_jobs(request.user),
        }

    @admin.display(description="result")
    def result(self, audit: CacheAudit) -> SafeString:
        """How many keys are right, and what share of all keys that supports."""
        share = audit.share
        return format_html('{} <span class="warmer-quiet">{}</span>', widgets.audit_result(audit), share)

    @admin.display(description="finished", ordering="finished_at")
    def finished(self, audit: CacheAudit) -> SafeString:
        """When it ended."""
        return widgets.moment(audit.finished_at)
