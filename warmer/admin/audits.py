"""The audits: what was compared, and what was wrong."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

from warmer.admin import widgets
from warmer.admin.base import JobFilter, ReadOnlyAdmin
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

    @admin.display(description="result")
    def result(self, audit: CacheAudit) -> SafeString:
        """How many keys are right, and what that says of all keys."""
        result, confidence = widgets.audit_result(audit), widgets.audit_confidence(audit)
        return format_html('{} <span class="warmer-quiet">{}</span>', result, confidence)

    @admin.display(description="finished", ordering="finished_at")
    def finished(self, audit: CacheAudit) -> SafeString:
        """When it ended."""
        return widgets.moment(audit.finished_at)
