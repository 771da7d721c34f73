"""The declared jobs: they are in code, so these pages list the registry."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from warmer.admin import permissions
from warmer.admin.actions import ACTIONS, Action, act
from warmer.admin.job_page import job_page, reset_view
from warmer.admin.log_in import action_of
from warmer.admin.overview_tag import shown_to
from warmer.admin.read_only import ReadOnlyAdmin
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.models import Job


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """The overview, a page for each job, and what can be done with them."""

    def get_urls(self) -> list[URLPattern]:
        site, wrap = self.admin_site, self.admin_site.admin_view
        actions = []
        for action in ACTIONS:
            view = action_of(site, partial(self.action_view, action=action))
            actions.append(path(f"{action.name}/", view, name=f"warmer_job_{action.name}"))
        return [
            path("", wrap(self.changelist_view), name="warmer_job_changelist"),
            path("overview/", wrap(self.overview_view), name="warmer_job_overview"),
            *actions,
            path("<str:quoted>/change/", wrap(self.entry_view), name="warmer_job_change"),
            path("<str:name>/schedule/", wrap(self.schedule_view), name="warmer_job_schedule"),
            path(
                "<str:name>/schedule/reset/",
                action_of(site, self.reset_view),
                name="warmer_job_schedule_reset",
            ),
        ]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return permissions.may_see_jobs(request.user)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return permissions.may_see_jobs(request.user)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the overview, which is also the page of the app."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = self._context(request) | {"title": self.opts.app_config.verbose_name}
        return TemplateResponse(request, "admin/warmer/app_index.html", context)

    def overview_view(self, request: HttpRequest) -> HttpResponse:
        """Show the overview alone: the page around it would take the messages that wait for another page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return TemplateResponse(request, "admin/warmer/includes/overview.html", shown_to(request))

    def action_view(self, request: HttpRequest, action: Action) -> HttpResponse:
        """Take an action on one, several or all jobs."""
        return act(request, action, self._context(request))

    def schedule_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Show a job, and set when it is refreshed."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return job_page(request, _spec(name), self._context(request))

    def entry_view(self, request: HttpRequest, quoted: str) -> HttpResponse:
        """Lead from an entry in the admin log, which has the name in Django's own spelling, to the job."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return redirect("admin:warmer_job_schedule", _spec(unquote(quoted)).name)

    def reset_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Have a job's schedule be what code says."""
        return reset_view(request, _spec(name))

    def _context(self, request: HttpRequest) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "opts": self.opts}


def _spec(name: str) -> JobSpec:
    if name not in jobs:
        raise Http404(f"There is no job {name!r}.")
    return jobs[name].spec
