"""dogpile.cache: `get_or_create_multi`, as many keys at a time as `warmer` loads."""

from __future__ import annotations

from itertools import islice
from typing import Any

from django.conf import settings
from dogpile.cache import make_region

from bench.means import Means, load_some
from bench.profiles import BATCH, TIMEOUT_SECONDS, active_ids, key_of


class Dogpile(Means):
    """A region in Redis."""

    def __init__(self) -> None:
        self._region = make_region().configure(
            "dogpile.cache.redis",
            expiration_time=TIMEOUT_SECONDS,
            arguments={
                "url": settings.CACHES["default"]["LOCATION"],
                "redis_expiration_time": TIMEOUT_SECONDS + 60,
            },
        )

    def warm_all(self) -> None:
        stream = iter(active_ids())
        while ids := list(islice(stream, BATCH)):
            self._get(ids)

    def read(self, id: int) -> Any:
        return self._get([id])[0]

    def _get(self, ids: list[int]) -> list[Any]:
        of_key = {key_of(id): id for id in ids}

        def create(*keys: str) -> list[Any]:
            loaded = load_some([of_key[key] for key in keys])
            return [loaded[of_key[key]] for key in keys]

        return list(self._region.get_or_create_multi(list(of_key), create))
