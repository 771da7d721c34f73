"""A run's page, its progress, and what batches report."""

from __future__ import annotations

from typing import Any

from django.test import Client

from tests.integration.admin.pages import RUNS
from warmer.models import WarmingRun
from warmer.report import Report


def page_of(client: Client, run: WarmingRun) -> str:
    """Return the page of a run."""
    return client.get(f"{RUNS}{run.pk}/change/").content.decode()


def progress_of(client: Client, run: WarmingRun) -> dict[str, Any]:
    """Return what the page of a run is told of its progress."""
    return client.get(f"{RUNS}{run.pk}/progress/").json()


def report(**counts: Any) -> Report:
    """Return what a batch of the job 'posts' reports."""
    return Report(job="posts", **{"batches": 1, **counts})
