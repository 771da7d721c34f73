"""What somebody needs to see and to do things here."""

from __future__ import annotations

from typing import Any

VIEW_JOBS = "warmer.view_job"
VIEW_RUNS = "warmer.view_warmingrun"
VIEW_AUDITS = "warmer.view_cacheaudit"

WARM = "warmer.warm_job"
INVALIDATE = "warmer.invalidate_job"
PAUSE = "warmer.pause_job"
AUDIT = "warmer.audit_job"
SCHEDULE = "warmer.edit_schedule"
CANCEL = "warmer.cancel_run"

# Who may do something with jobs sees them.
OF_JOBS = (VIEW_JOBS, WARM, INVALIDATE, PAUSE, AUDIT, SCHEDULE)


def may_see_jobs(user: Any) -> bool:
    """Say whether a user sees the jobs."""
    return any(user.has_perm(permission) for permission in OF_JOBS)
