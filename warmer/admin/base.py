"""Shared by the pages: permissions, an admin for read-only rows, pieces of HTML, and the admin log."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst

from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.models import Job, outside_transactions

VIEW_RUNS = "warmer.view_warmingrun"
WARM, INVALIDATE, AUDIT = "warmer.warm_job", "warmer.invalidate_job", "warmer.audit_job"
PAUSE, SCHEDULE, CANCEL = "warmer.pause_job", "warmer.edit_schedule", "warmer.cancel_run"
# A user who may act on jobs may also view them.
OF_JOBS = ("warmer.view_job", WARM, INVALIDATE, PAUSE, AUDIT, SCHEDULE)

MAX_REASON_LENGTH = 200

schedule: Any = None  # `warmer.schedule`, in projects with django-celery-beat
if apps.is_installed("django_celery_beat"):
    from warmer import schedule as _schedule

    schedule = _schedule


# At run time these Django classes are not generic.
class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """A paginator that counts at most `cap` rows.

    1,000 jobs every quarter of an hour have three million runs a month: nobody pages that far.
    """

    cap = 10_000

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[: self.cap].count())


class JobFilter(admin.SimpleListFilter):
    """A filter by job, as a select: there may be a thousand jobs."""

    title = parameter_name = "job"
    template = "admin/warmer/job_filter.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in sorted(jobs)]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(job=self.value()) if self.value() else queryset


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A list and a page for each row; rows cannot be added, changed or deleted here."""

    page_template = ""
    counted: Iterable[str] = ()  # the columns that the list shows as "96 written, 2 failed"
    actions = None
    list_per_page = 50
    paginator = CappedPaginator
    # Facets and the full result count would count all rows.
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    def _denied(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    has_add_permission = has_change_permission = has_delete_permission = _denied

    def get_urls(self) -> list[URLPattern]:
        name = f"warmer_{self.opts.model_name}"
        return [
            path("", self._view(self.changelist_view), name=f"{name}_changelist"),
            path("<path:object_id>/change/", self._view(self.change_view), name=f"{name}_change"),
        ]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        # PostgreSQL fails on a NUL in any filter.
        if any("\0" in value for values in request.GET.lists() for value in values[1]):
            raise IncorrectLookupParameters
        return super().get_changelist_instance(request)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a row's page; a POST is an action on the row."""
        row = self.get_object(request, object_id)
        if row is not None and request.method == "POST":
            return self.act(request, row)
        if not self.has_view_permission(request):
            raise PermissionDenied
        if row is None:
            raise Http404
        return self.render(request, self.page_template, self.page(request, row))

    def act(self, request: HttpRequest, row: Any) -> HttpResponse:
        """Handle a POST to a row's page."""
        raise PermissionDenied

    @admin.display(description="job", ordering="job")
    def job_link(self, row: Any) -> SafeString:
        """The job, with a link to its page if it is declared."""
        name = job_name(row.job)
        if row.job not in jobs:
            return name
        address = reverse("admin:warmer_job_change", args=[row.job], current_app=self.admin_site.name)
        return format_html('<a href="{}">{}</a>', address, name)

    def with_pages(self, request: HttpRequest, row: Any, named: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the keys listed in a row, each with its object's admin page, if any, as `url`."""
        spec = jobs[row.job].spec if row.job in jobs else None
        return [each | {"url": spec and self._url_of(request, spec, each["key"])} for each in named]

    def _url_of(self, request: HttpRequest, spec: JobSpec, key: str) -> str:
        """Return the page of a key's object: of a model whose primary key is the job's id."""
        id = spec.key.id_text(key)
        for model in {each.object_model: None for each in spec.depends_on}:
            if id and model is not None and self.admin_site.is_registered(model):
                its_admin = self.admin_site.get_model_admin(model)
                if its_admin.has_view_permission(request):
                    meta = its_admin.opts
                    return url(request, f"{meta.app_label}_{meta.model_name}_change", quote(id))
        return ""

    def page(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return the context of a row's page, with the counts by name, each with its meaning."""
        meanings = {field.name: field.help_text for field in self.opts.concrete_fields}
        return {
            "title": capfirst(str(row)),
            "row": row,
            "counts": [(str(name), getattr(row, name), meanings[name]) for name in self.counted],
            "job_is_linked": row.job in jobs,
        }

    def render(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        return TemplateResponse(
            request, template, {**self.admin_site.each_context(request), "opts": self.opts, **context}
        )

    @admin.display(description="keys")
    def keys(self, row: Any) -> str:
        """The counts that are not 0, in one column that wraps; six columns would not fit."""
        return counts(row, self.counted) or "none"

    def _view(self, view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        """Wrap a view to tell users who were logged out that their action was not performed."""
        site = self.admin_site
        guarded: Callable[..., HttpResponseBase] = site.admin_view(view)

        @wraps(view)
        @outside_transactions  # an error of a loader must not undo the log entry
        def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if request.method == "POST" and not site.has_permission(request):
                messages.warning(request, "You were logged out, so nothing was done.")
            return guarded(request, *args, **kwargs)

        return wrapper


def url(request: HttpRequest, name: str, *args: Any) -> str:
    """Return the URL of a page on the request's admin site, of which a project may have several."""
    assert request.resolver_match is not None
    return reverse(f"admin:{name}", args=args, current_app=request.resolver_match.namespace)


def may_see_jobs(user: Any) -> bool:
    return any(user.has_perm(permission) for permission in OF_JOBS)


def reason(request: HttpRequest) -> str:
    """Return the reason that a user gave for an action."""
    given = request.POST.get("why", "").replace("\0", " ")  # which PostgreSQL cannot store
    return " ".join(given.split())[:MAX_REASON_LENGTH]


def log(request: HttpRequest, job: str, what: str) -> None:
    """Record in Django's admin log what a user did with a job or one of its runs, and why."""
    why = reason(request)
    message = f"{what} Reason: {why}" if why else what
    user: Any = request.user
    LogEntry.objects.log_actions(user.pk, [Job(pk=job, job=job)], CHANGE, message, single_object=True)


def job_name(job: str) -> SafeString:
    """Return the name of a job, which wraps at its underscores first."""
    return format_html_join(mark_safe("_<wbr>"), "{}", ((part,) for part in job.split("_")))


def state(value: str) -> SafeString:
    """Return the state of a job or a run with its mark."""
    return format_html('<span class="warmer-state warmer-state-{}">{}</span>', value, value)


def counts(row: Any, names: Iterable[str]) -> str:
    """Return the counts of a row that are not 0, e.g. "96 written, 2 failed"."""
    found = [(getattr(row, name), name.replace("_", " ")) for name in names]
    return ", ".join(f"{count:,} {name}" for count, name in found if count)
