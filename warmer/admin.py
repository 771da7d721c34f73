"""The admin's pages: the declared jobs with "Warm now", and the ledger of runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.timesince import timeuntil

from warmer import ledger
from warmer.exceptions import UnknownJob
from warmer.models import Job, State, Trigger, WarmingRun
from warmer.registry import jobs
from warmer.report import Outcome
from warmer.spec import JobSpec
from warmer.tasks import request_run

if apps.is_installed("django_celery_beat"):
    from warmer.schedule import Entry, entries
else:  # pragma: no cover - the project has it
    Entry = Any  # type: ignore[misc, assignment]

    def entries() -> dict[str, Entry]:
        """Without beat nothing is scheduled."""
        return {}


if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:  # at run time Django's class takes no parameter
    ModelAdmin = admin.ModelAdmin

MAY_WARM = "warmer.warm_job"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A job on the list."""

    spec: JobSpec
    run: WarmingRun | None
    entry: Entry | None

    @property
    def state(self) -> str:
        """The state of its last run."""
        return self.run.state if self.run else "never run"

    @property
    def due(self) -> str:
        """When beat sends it next."""
        if self.entry is None or self.entry.due is None:
            return ""
        return "now" if self.entry.due <= timezone.now() else f"in {timeuntil(self.entry.due)}"


class ReadOnlyAdmin(ModelAdmin):
    """What is only looked at."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """The declared jobs: they are in code, so this page lists the registry."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("", wrap(self.changelist_view), name="warmer_job_changelist"),
            path("warm/", wrap(self.warm_view), name="warmer_job_warm"),
        ]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) or request.user.has_perm(MAY_WARM)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """List the jobs, with three queries however many there are."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        last, scheduled = ledger.last_runs(jobs), entries()
        rows = [
            Row(spec=spec, run=last.get(spec.name), entry=scheduled.get(spec.name)) for spec in jobs.specs()
        ]
        context = {
            **self.admin_site.each_context(request),
            "title": "Jobs",
            "opts": self.opts,
            "rows": rows,
            "may_warm": request.user.has_perm(MAY_WARM),
            "may_see_runs": request.user.has_perm("warmer.view_warmingrun"),
        }
        return TemplateResponse(request, "admin/warmer/job/change_list.html", context)

    def warm_view(self, request: HttpRequest) -> HttpResponse:
        """Request a run of one, several or all jobs; by POST only."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm(MAY_WARM):
            raise PermissionDenied
        names = _asked_for(request)
        if not names:
            messages.warning(request, "No job was chosen.")
            return redirect("admin:warmer_job_changelist")
        try:
            specs = [jobs[name].spec for name in names]  # all known, before any is begun
        except UnknownJob as error:
            messages.error(request, str(error))
            return redirect("admin:warmer_job_changelist")
        opened = [request_run(spec.name, Trigger.ADMIN, user=request.user) for spec in specs]
        for each in opened:
            _tell(request, each)
        if not request.user.has_perm("warmer.view_warmingrun"):
            return redirect("admin:warmer_job_changelist")
        if len(opened) == 1:
            return redirect("admin:warmer_warmingrun_change", opened[0].run.pk)
        ids = ",".join(str(each.run.pk) for each in opened)
        return redirect(f"{reverse('admin:warmer_warmingrun_changelist')}?id__in={ids}")


@admin.register(WarmingRun)
class WarmingRunAdmin(ReadOnlyAdmin):
    """The ledger."""

    list_display = ("run", "job", "state", "keys", "duration", "asked", "requested")
    list_filter = ("state", "trigger", "job")
    list_select_related = ("requested_by",)
    search_fields = ("job",)
    list_per_page = 50
    show_full_result_count = False
    fieldsets = (
        (None, {"fields": ("job", "state", "progress", "error")}),
        ("Asked for", {"fields": ("trigger", "requested_by", "requested_at", "only_missing")}),
        ("Keys", {"fields": ("written", "fresh", "fenced", "absent", "failed", "failed_keys")}),
        ("Work", {"fields": ("started_at", "finished_at", "duration", "work", "queries", "worker")}),
    )
    readonly_fields = ("progress", "failed_keys", "duration", "work")

    @admin.display(description="run", ordering="id")
    def run(self, run: WarmingRun) -> str:
        """The run's number, which leads to its page."""
        return str(run.pk)

    @admin.display(description="asked for by")
    def asked(self, run: WarmingRun) -> str:
        """The trigger, and who pulled it."""
        return run.trigger if run.requested_by is None else f"{run.trigger}: {run.requested_by}"

    @admin.display(description="requested at", ordering="requested_at")
    def requested(self, run: WarmingRun) -> str:
        """When it was asked for, to the second."""
        return f"{timezone.localtime(run.requested_at):%Y-%m-%d\N{NO-BREAK SPACE}%H:%M:%S}"

    @admin.display(description="keys")
    def keys(self, run: WarmingRun) -> str:
        """The outcomes that occurred, counted."""
        counts = [(getattr(run, outcome.value), outcome.value) for outcome in Outcome]
        return ", ".join(f"{count:,} {name}" for count, name in counts if count) or "none"

    @admin.display(description="work")
    def work(self, run: WarmingRun) -> str:
        """The seconds of work, summed over the workers."""
        return f"{run.seconds:.2f} s"

    @admin.display(description="took")
    def duration(self, run: WarmingRun) -> str:
        """How long the run took, or takes so far."""
        return "" if run.took is None else f"{run.took:.2f}\N{NO-BREAK SPACE}s"

    @admin.display(description="batches")
    def progress(self, run: WarmingRun) -> str:
        """How many batches are done, of how many."""
        total = "?" if run.batches_total is None else run.batches_total
        return f"{run.batches_done} of {total}"

    @admin.display(description="failed keys")
    def failed_keys(self, run: WarmingRun) -> str:
        """The first failed keys, with their errors."""
        failures = run.report.failures
        more = run.failed - len(failures)
        return format_html(
            "{}{}",
            format_html_join("", "<div><code>{}</code>: {}</div>", ((f.key, f.error) for f in failures)),
            f"and {more} more" if more > 0 else "",
        )


def _asked_for(request: HttpRequest) -> list[str]:
    if "all" in request.POST:
        return list(jobs)
    if "only" in request.POST:
        return [request.POST["only"]]
    return request.POST.getlist("job")


def _tell(request: HttpRequest, opened: ledger.Opened) -> None:
    # The admin capitalises a message's first letter, so none begins with a job's name.
    run = opened.run
    if opened.joined:
        messages.info(request, f"Already being warmed: {run.job}, by run {run.pk} ({run.trigger}).")
    elif run.state in (State.QUEUED, State.RUNNING):
        messages.success(request, f"Asked for run {run.pk} of {run.job}.")
    elif run.state == State.COMPLETE:
        messages.success(request, f"Run {run.pk} of {run.job} is complete.")
    else:
        messages.error(request, f"Run {run.pk} of {run.job} is {run.state}: {run.error}")
