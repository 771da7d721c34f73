"""What the checks look at: the caches, the jobs, and what the layers above know of Celery and beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils import timezone

from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.report import describe
from warmer.stores import open_server
from warmer.tasks import Broker, Queue

if TYPE_CHECKING:
    from warmer.schedule import Beat
    from warmer.stores.inspection import Server


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A cache of the settings.

    Attributes:
        options: its entry in `CACHES`.
        server: its Redis server; None for any other cache.
        problem: why its backend cannot be used at all; empty when it can.
    """

    alias: str
    options: Mapping[str, Any]
    server: Server | None = None
    problem: str = ""

    @property
    def backend(self) -> str:
        """The class that serves it, as the settings name it."""
        return str(self.options.get("BACKEND", ""))

    @property
    def redis(self) -> Server:
        """Its Redis server, for a check that is only made when there is one."""
        assert self.server is not None
        return self.server


@dataclass(frozen=True, kw_only=True)
class Project:
    """Everything that the checks look at; what costs a question is asked when a check wants it.

    Attributes:
        broker: what Celery's broker is.
        queues: the queues of the jobs, with their workers.
        beat: what beat's tables tell; None when beat is not installed.
        now: the clock of this process.
    """

    caches: tuple[Cache, ...]
    specs: tuple[JobSpec, ...]
    broker: Callable[[], Broker]
    queues: Callable[[], tuple[Queue, ...]]
    beat: Callable[[], Beat] | None = None
    now: Callable[[], datetime] = field(default=timezone.now)


def chosen_caches(alias: str | None = None) -> tuple[Cache, ...]:
    """Return every cache of the settings, or the one of that name."""
    return tuple(_cache(each) for each in settings.CACHES if alias in (None, each))


def specs_of(caches: tuple[Cache, ...]) -> tuple[JobSpec, ...]:
    """Return the jobs whose keys are in these caches."""
    aliases = {cache.alias for cache in caches}
    return tuple(spec for spec in jobs.specs() if spec.cache in aliases)


def _cache(alias: str) -> Cache:
    options = settings.CACHES[alias]
    try:
        server = open_server(alias)
        if server is not None:
            _ = server.place  # reads the settings, and connects to nothing
        return Cache(alias=alias, options=options, server=server)
    except Exception as error:  # noqa: BLE001 - a backend's own, at its settings
        return Cache(alias=alias, options=options, problem=describe(error))
