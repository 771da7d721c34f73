"""The objects of the checks: caches, jobs, Celery, beat. Each is queried once, when a check needs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings

from warmer import tasks
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import CommandRefused, StoreUnavailable
from warmer.report import describe
from warmer.stores import open_servers, why_unusable

if TYPE_CHECKING:
    from warmer.stores.inspection import Server

READING_KEY = "warmer-doctor:reading"
# The figures of INFO that are kept there, with the `run_id`: after a restart they start again.
READING = ("uptime_in_seconds", "used_memory", "evicted_keys")
DAY = 86_400
# A trend needs some time between two readings.
SHORTEST_SPAN = 600


def setting_of(alias: str, *names: str) -> str:
    """Return the name of a setting of a cache, e.g. `CACHES["default"]["OPTIONS"]["X"]`."""
    return "CACHES" + "".join(f'["{name}"]' for name in (alias, *names))


class NotApplicable(Exception):
    """A check does not apply; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A cache of the settings, or a primary of its Redis Cluster.

    Attributes:
        options: its entry in `CACHES`.
        server: its Redis server; None for any other cache.
        problem: why its backend cannot be used at all; empty if it can.
    """

    alias: str
    options: Mapping[str, Any]
    project: Project
    server: Server | None
    problem: str

    @property
    def name(self) -> str:
        """Its heading in reports."""
        is_node = self.server is not None and self.server.is_node
        return f"cache {self.alias!r}" + (f" at {self.redis.place.text}" if is_node else "")

    @property
    def backend(self) -> str:
        """The backend class, as in the settings."""
        return str(self.options.get("BACKEND", ""))

    @property
    def redis(self) -> Server:
        """Its Redis server; raises `NotApplicable` for any other cache."""
        if self.server is None:
            raise NotApplicable("not a single Redis server")
        return self.server

    @cached_property
    def rise(self) -> Mapping[str, int]:
        """How much the figures of `READING` rose since an earlier run of the doctor; empty if unknown.

        The server keeps the reading, which is replaced when it is a day old.
        """
        server, info = self.redis, self.redis.info
        key = server.local(READING_KEY)
        kept = json.loads(server.ask("GET", key) or "{}")
        is_same = kept.get("run_id") == info["run_id"]
        rise = {name: info[name] - kept[name] if is_same else 0 for name in READING}
        span = rise["uptime_in_seconds"]
        if not is_same or span >= DAY:
            now = {name: info[name] for name in ("run_id", *READING)}
            with suppress(StoreUnavailable, CommandRefused):  # e.g. it is full, which is for another check
                server.ask("SET", key, json.dumps(now), "EX", 3 * DAY)
        return rise if span >= SHORTEST_SPAN else {}

    @property
    def specs(self) -> list[JobSpec]:
        """The jobs that store their keys here."""
        return [spec for spec in self.project.specs if spec.cache == self.alias]

    @property
    def holds_all_sessions(self) -> bool:
        """Whether sessions are stored only in this cache."""
        is_alone = settings.SESSION_ENGINE == "django.contrib.sessions.backends.cache"
        return is_alone and self.alias == settings.SESSION_CACHE_ALIAS

    def setting(self, *names: str, value: str) -> str:
        """Return a line for the settings of this cache."""
        return f"{setting_of(self.alias, *names)} = {value}"


class Project:
    """The project, or its cache of an alias with the jobs that use it."""

    name = "project"

    def __init__(self, alias: str | None = None) -> None:
        aliases = list(settings.CACHES) if alias is None else [alias]
        self.caches = tuple(cache for each in aliases for cache in self._caches(each))
        self.specs = tuple(spec for spec in jobs.specs() if spec.cache in aliases)

    @cached_property
    def broker(self) -> tasks.Broker:
        """Celery's broker."""
        return tasks.look_at_broker()

    @property
    def redis(self) -> Server:
        """The broker's Redis server; raises `NotApplicable` for any other broker."""
        self.require_broker()
        if self.broker.server is None:
            raise NotApplicable("the broker is not a Redis server")
        return self.broker.server

    def require_broker(self) -> None:
        """Raise `NotApplicable` if there is no broker."""
        if self.broker.in_process:
            raise NotApplicable("tasks run in process, without a broker")

    @cached_property
    def schedule(self) -> Any:
        """The package `warmer.schedule`; None if django_celery_beat is not installed."""
        return import_module("warmer.schedule") if apps.is_installed("django_celery_beat") else None

    def close(self) -> None:
        """Close the connections to Redis servers."""
        brokers = [self.broker.server] if "broker" in vars(self) else []
        for server in filter(None, [*(cache.server for cache in self.caches), *brokers]):
            server.close()

    def _caches(self, alias: str) -> list[Cache]:
        servers: list[Server | None] = []
        problem = why_unusable(alias)
        try:
            found = [] if problem else open_servers(alias)
            _ = [server.place for server in found]  # reads the settings, does not connect
            servers += found
        except StoreUnavailable:
            pass  # no node of a cluster answers, which `reachability` reports
        except Exception as error:  # noqa: BLE001 - a backend may raise anything
            problem = describe(error)
        known: dict[str, Any] = {"alias": alias, "options": settings.CACHES[alias], "project": self}
        return [Cache(**known, server=server, problem=problem) for server in servers or [None]]
