"""The declared jobs. They are not in the database, so their list is the overview; each has its own page.

The runbook is a page, too: the site serves it itself even if nothing else can be reached.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from warmer.admin import actions, base, health, history
from warmer.admin.base import ReadOnlyAdmin, log, may_see_jobs, schedule, url
from warmer.admin.overview import Table
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import WarmerError
from warmer.models import Job, rows_of

ENTRIES_SHOWN = 10
# A symbolic link to the page in the documentation; in an installed package, a copy of it.
RUNBOOK = Path(__file__).with_name("runbook.md")
_INLINE = (
    (r"`([^`]+)`", r"<code>\1</code>"),
    (r"\*\*([^*]+)\*\*", r"<strong>\1</strong>"),
    (r"\*([^*]+)\*", r"<em>\1</em>"),
    (r"\[([^\]]+)\]\((#[\w-]+)\)", r'<a href="\2">\1</a>'),
    # The admin does not serve other pages, so show their names instead of links.
    (r"\[([^\]]+)\]\(([^)#]+)[^)]*\)", r"\1 [<code>docs/\2</code>]"),
)


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """A page for each declared job, and the actions on it and on single keys."""

    page_template = "admin/warmer/job.html"

    def get_urls(self) -> list[URLPattern]:
        return [path("runbook/", self._view(self.runbook_view), name="warmer_runbook"), *super().get_urls()]

    def runbook_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self.render(request, "admin/warmer/runbook.html", {"title": "Runbook", "runbook": _runbook()})

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
        if schedule is None or not request.user.has_perm(base.SCHEDULE):
            raise PermissionDenied
        form = None
        try:
            before = str(schedule.entry_of(row) or "none")
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
            now = schedule.entry_of(row)
            log(request, row.name, f"Schedule: {now} (before: {before}).")
            messages.success(request, f"Set the schedule of {row.name}: {now}.")
        return redirect(request.get_full_path())

    def page(self, request: HttpRequest, row: JobSpec, form: Any = None) -> dict[str, Any]:
        (shown,) = Table([row], health.ask_caches([row])).rows([row], health.look_at_databases()[0])
        if form is None and row.every and schedule and request.user.has_perm(base.SCHEDULE):
            form = schedule.ScheduleForm(row)
        hidden = ("pause" if shown.paused else "resume",) if row.every else ("pause", "resume")
        allowed = actions.allowed(request.user)
        about = ContentType.objects.get_for_model(Job, for_concrete_model=False)
        entries = rows_of(LogEntry).filter(content_type=about, object_id=row.name).select_related("user")
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
            "has_schedule": schedule is not None,
            "is_edited": shown.entry is not None and shown.entry.interval != row.every,
            "form": form,
            "entries": entries.order_by("-action_time", "-pk")[:ENTRIES_SHOWN],
            "actions": {name: action for name, action in allowed.items() if name not in hidden},
        }


@cache
def _runbook() -> SafeString:
    """Render the runbook. Supports the Markdown that the page uses; tables are shown without their header."""
    text = re.sub(r"^# .*\n|^<!--.*-->\n|^\|.*\n\|-.*\n", "", RUNBOOK.read_text("utf-8"), flags=re.M)
    text = re.sub(r"^##+ (.+)$", _heading, escape(text), flags=re.M)
    return mark_safe("\n".join(_blocks(text)))  # noqa: S308 - escaped above


def _heading(found: re.Match[str]) -> str:
    anchor = re.sub(r"[^\w -]", "", found[1]).lower().replace(" ", "-")
    return f'\n<h2 id="{anchor}">{found[1]}</h2>\n'


def _blocks(text: str) -> Iterator[str]:
    for prose, code in re.findall(r"(.*?)(?:^```\w*\n(.*?)^```$|\Z)", text, flags=re.M | re.S):
        for block in re.split(r"\n\n+|\n(?=- |\|)", prose.strip()):
            row = block.strip("| ").replace(" | ", ": ") if block.startswith("|") else block
            for pattern, replacement in _INLINE:
                row = re.sub(pattern, replacement, row)
            if row:
                yield row if row.startswith("<h2") else f"<p>{row}</p>"
        if code:
            yield f"<pre>{code}</pre>"
