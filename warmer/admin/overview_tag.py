"""The overview for one reader; by its tag it is the app's own page, whatever admin site serves that."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.template import RequestContext

from warmer.admin import permissions
from warmer.admin.actions import ACTIONS, allowed
from warmer.admin.overview import overview


def warmer_overview(context: RequestContext) -> dict[str, Any] | None:
    """Return the overview with what the reader may do; None for one who may not see the jobs."""
    return shown_to(context.request) if permissions.may_see_jobs(context.request.user) else None


def shown_to(request: HttpRequest) -> dict[str, Any]:
    """Return what the overview's template needs, for one who may see the jobs."""
    user = request.user
    may = allowed(user)
    return {
        "page": overview(request.GET),
        "actions": [action for action in ACTIONS if may[action.name]],
        "may": may,
        "may_see_runs": user.has_perm(permissions.VIEW_RUNS),
        "may_see_audits": user.has_perm(permissions.VIEW_AUDITS),
    }
