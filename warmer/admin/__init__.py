"""The admin's pages: the overview of the jobs, what can be done with them, runs, audits, the schedule."""

from warmer.admin.audits import CacheAuditAdmin
from warmer.admin.jobs import JobAdmin
from warmer.admin.runs import WarmingRunAdmin

__all__ = ["CacheAuditAdmin", "JobAdmin", "WarmingRunAdmin"]
