"""The overview as a template tag: so the app's own page is it, whatever admin site serves that page."""

from __future__ import annotations

from typing import Any

from django.template import RequestContext

from warmer.admin import permissions
from warmer.admin.actions import ACTIONS, allowed
from warmer.admin.overview import overview


def warmer_overview(context: RequestContext) -> dict[str, Any] | None:
    """Return the overview with what the reader may do; None for one who may not see the jobs."""
    user = context.request.user
    if not permissions.may_see_jobs(user):
        return None
    may = allowed(user)
    return {
        "page": overview(context.request.GET),
        "actions": [action for action in ACTIONS if may[action.name]],
        "may": may,
        "may_see_runs": user.has_perm(permissions.VIEW_RUNS),
        "may_see_audits": user.has_perm(permissions.VIEW_AUDITS),
    }
