"""The audits: how many keys were compared, and which were wrong."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from warmer.admin.base import INVALIDATE, JobFilter, ReadOnlyAdmin, counts
from warmer.declarations.registry import jobs
from warmer.models import CacheAudit, Verdict


class WrongFilter(admin.SimpleListFilter):
    """A filter by whether an audit found wrong keys."""

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
        """Return the context of an audit's page."""
        may_repair = request.user.has_perm(INVALIDATE) and row.job in jobs
        return super().page(request, row) | {
            "may_repair": may_repair and row.wrong > row.repaired,
            "wrong_keys": self.with_pages(request, row, row.wrong_keys),
            "failures": self.with_pages(request, row, row.failures),
        }

    @admin.display(description="result")
    def result(self, audit: CacheAudit) -> SafeString:
        """How many keys are right, and what this implies for all keys."""
        result, confidence = audit_result(audit), audit_confidence(audit)
        mark = "warmer-warning" if audit.needs_attention else ""
        text = '<span class="{}">{}</span> <span class="warmer-quiet">{}</span>'
        return format_html(text, mark, result, confidence)


def audit_result(audit: CacheAudit) -> str:
    """Return the result of an audit, e.g. "99 of 100 right"."""
    if compared := audit.right + audit.wrong:
        return f"{audit.right:,} of {compared:,} right"
    return f"{audit.missing:,} missing" if audit.missing else "nothing compared"


def audit_details(audit: CacheAudit) -> str:
    """Return an audit's other counts and its confidence: "1 missing; 95 % confidence: at least 97 %"."""
    compared = audit.right + audit.wrong
    names = ("wrong", "repaired", "missing", "failed") if compared else ("failed",)
    found = ", ".join(counts(audit, (name,)) for name in names if getattr(audit, name))
    return "; ".join(text for text in (found, audit_confidence(audit)) if text)


def audit_confidence(audit: CacheAudit) -> str:
    """Return what a sample of right keys implies for all; nothing if every key was compared, or none."""
    is_sample = audit.right and not audit.wrong and not audit.whole
    return f"95 % confidence: {audit.share}" if is_sample else ""
