"""The declared jobs. They are not in the database, so their list is the overview; each has its own page."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path

from warmer.admin import actions, base, health, history, runbook
from warmer.admin.base import ReadOnlyAdmin, log, may_see_jobs, schedule, url
from warmer.admin.overview import Table
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import WarmerError
from warmer.models import Job, rows_of

ENTRIES_SHOWN = 10


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """A page for each declared job, and the actions on it and on single keys."""

    page_template = "admin/warmer/job.html"

    def get_urls(self) -> list[URLPattern]:
        return [path("runbook/", self._view(self.runbook_view), name="warmer_runbook"), *super().get_urls()]

    def runbook_view(self, request: HttpRequest) -> HttpResponse:
        """Show the runbook."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self.render(
            request, "admin/warmer/runbook.html", {"title": "Runbook", "runbook": runbook.html()}
        )

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_see_jobs(request.user)

    has_module_permission = has_view_permission

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """Return the declaration of a job; None if it does not exist."""
        names = (object_id, unquote(object_id))  # links of the admin log quote it
        return next((jobs[name].spec for name in names if name in jobs), None)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Perform an action on jobs; on GET, redirect to the overview, which is the app's index page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            return actions.act(request, self.render)
        query = request.GET.urlencode()
        return redirect(url(request, "app_list", "warmer") + (f"?{query}" if query else ""))

    def act(self, request: HttpRequest, row: JobSpec) -> HttpResponse:
        """Set the schedule of a job, or perform an action on it or on one of its keys."""
        action = request.POST.get("action")
        if action in actions.KEY_ACTIONS:
            permitted = actions.permitted(request, actions.KEY_ACTIONS[action])
            actions.perform(request, permitted, [row], text=request.POST.get("id", ""))
            return redirect(request.get_full_path())
        if action not in ("schedule", "reset"):
            return actions.act(request, self.render)
        if not request.user.has_perm(base.SCHEDULE):
            raise PermissionDenied
        form = None
        try:
            before = str(_entry_of(row) or "none")
            if action == "reset":
                schedule.reset(row)
            else:
                form = schedule.ScheduleForm(row, request.POST)
                if not form.is_valid():
                    return self.render(request, self.page_template, self.page(request, row, form))
                form.save()
        except WarmerError as error:
            messages.error(request, str(error))
        else:
            now = _entry_of(row)
            log(request, row.name, f"Schedule: {now} (before: {before}).")
            messages.success(request, f"Set the schedule of {row.name}: {now}.")
        return redirect(request.get_full_path())

    def page(self, request: HttpRequest, row: JobSpec, form: Any = None) -> dict[str, Any]:
        """Return the context of a job's page."""
        caches = health.ask_caches([row])
        problem, current = "", None
        try:
            current = _entry_of(row)
        except WarmerError as error:
            problem = str(error)
        if form is None and row.every and not problem and request.user.has_perm(base.SCHEDULE):
            form = schedule.ScheduleForm(row)
        (shown,) = Table([row], caches).rows([row], health.look_at_databases()[0])
        hidden = ("pause", "resume") if not row.every or problem else ("pause" if shown.paused else "resume",)
        allowed = actions.allowed(request.user)
        span = "week" if request.GET.get("span") == "week" else "day"
        # Not when the page updates itself: a look-up reads the declared ids.
        id = None if "live" in request.GET else request.GET.get("id")
        return {
            "title": f"Job {row.name}",
            "spec": row,
            "row": shown,
            "beat": health.look_at_beat(),
            "charts": history.charts(row.name, span),
            "span": span,
            "spans": list(history.SPANS),
            "found": None if id is None else actions.look_up(row, id),
            "key_actions": actions.allowed(request.user, actions.KEY_ACTIONS),
            "still": actions.STILL,
            "problem": problem,
            "current": current,
            "is_edited": current is not None and current.interval != row.every,
            "form": form,
            "entries": _log_entries(row.name),
            "actions": {name: action for name, action in allowed.items() if name not in hidden},
        }


def _entry_of(spec: JobSpec) -> Any:
    """Return the entry of a job in beat, if it has one."""
    if schedule is None:
        raise WarmerError("Nothing refreshes this job: django_celery_beat is not installed.")
    return schedule.entry_of(spec)


def _log_entries(job: str) -> Any:
    """Return the last entries of the admin log about a job, newest first."""
    model = ContentType.objects.get_for_model(Job, for_concrete_model=False)
    entries = rows_of(LogEntry).filter(content_type=model, object_id=job).select_related("user")
    return entries.order_by("-action_time", "-pk")[:ENTRIES_SHOWN]
