"""Logging in when an action asks for it: that leads back to the page the action was on.

Django leads to the address that was asked for. An action's takes no GET: the log-in would end on a 405.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme


def action_of(site: AdminSite, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Return the view of an action for an admin site: with its log-in, from which one comes back."""
    guarded = site.admin_view(view)

    @wraps(view)
    def of_action(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method != "POST" or site.has_permission(request):
            return guarded(request, *args, **kwargs)
        messages.warning(request, "Nothing was done, as you were not logged in.")
        return redirect_to_login(_page(request), reverse("admin:login", current_app=site.name))

    return of_action


def _page(request: HttpRequest) -> str:
    """Return the page an action was on; the overview when that is not told, or was the action's question."""
    referer = request.headers.get("Referer", "")
    if url_has_allowed_host_and_scheme(referer, allowed_hosts={request.get_host()}):
        page = urlsplit(referer)._replace(scheme="", netloc="", fragment="")
        if page.path not in ("", request.path):  # the question is asked at the action's own address
            return page.geturl()
    return reverse("admin:app_list", kwargs={"app_label": "warmer"})
