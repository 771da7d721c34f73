"""The job that these tests observe and count."""

from collections.abc import Mapping, Sequence
from typing import Any

from warmer import warm_many

LOCMEM = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "things"}}


def declare(name: str = "things", ids: Any = range(10), **options: Any) -> Any:
    """Declare a job of some ids. Its loader has no value for those with a minus, and fails for "bad"."""
    options = {"ids": lambda: ids, "name": name} | options

    @warm_many(f"{name}:{{id}}", **options)
    def load(ids: Sequence[Any]) -> Mapping[Any, Any]:
        if "bad" in ids:
            raise ValueError("broken")
        return {id: {"id": id} for id in ids if not str(id).startswith("-")}

    return load
