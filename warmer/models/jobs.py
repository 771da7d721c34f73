"""The jobs, for the admin."""

from __future__ import annotations

from warmer.models.runs import WarmingRun


class Job(WarmingRun):
    """The declared jobs, as the admin lists them; no rows of their own."""

    class Meta:
        proxy = True
        default_permissions = ("view",)
        verbose_name = "job"
