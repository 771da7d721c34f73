"""warmer: `job.warm()`."""

from __future__ import annotations

from typing import Any

from bench.means import Means, load_some
from bench.profiles import declare_job


class Warmer(Means):
    """A job on the project's cache."""

    def __init__(self) -> None:
        self._job = declare_job(loader=load_some)

    def warm_all(self) -> None:
        self._job.warm()

    def read(self, id: int) -> Any:
        return self._job.get(id)


class OnPickle(Warmer):
    """The same on a cache as the other libraries have it."""

    def __init__(self) -> None:
        self._job = declare_job("pickled", loader=load_some)
