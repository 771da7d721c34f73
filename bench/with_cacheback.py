"""django-cacheback: `refresh`, as its Celery task calls it, for one key after the other."""

from __future__ import annotations

from typing import Any

from cacheback.base import Job

from bench.means import Means, load_one
from bench.profiles import TIMEOUT_SECONDS, active_ids


class ProfileJob(Job):
    """A profile by its id."""

    lifetime = TIMEOUT_SECONDS

    def fetch(self, id: int) -> Any:
        return load_one(id)


class Cacheback(Means):
    """Its refresh."""

    def __init__(self) -> None:
        self._job = ProfileJob()

    def warm_all(self) -> None:
        for id in active_ids():
            self._job.refresh(id)

    def read(self, id: int) -> Any:
        return self._job.get(id)
