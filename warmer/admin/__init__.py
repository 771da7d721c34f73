"""The admin's pages: the overview of jobs and the actions on them, runs, audits, the schedule."""

from warmer.admin.jobs import JobAdmin
from warmer.admin.runs import CacheAuditAdmin, WarmingRunAdmin

__all__ = ["CacheAuditAdmin", "JobAdmin", "WarmingRunAdmin"]
