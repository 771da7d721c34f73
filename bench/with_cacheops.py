"""django-cacheops: a function that is cached as the queryset of one user."""

from __future__ import annotations

from typing import Any

from cacheops import cached_as

from bench.means import Means, load_one
from bench.profiles import TIMEOUT_SECONDS, active_ids
from users.models import CustomUser


class CachedAs(Means):
    """A call of the function with a cold key."""

    def warm_all(self) -> None:
        for id in active_ids():
            self.read(id)

    def read(self, id: int) -> Any:
        sample = CustomUser.objects.filter(pk=id)
        return cached_as(sample, timeout=TIMEOUT_SECONDS)(load_one)(id)
