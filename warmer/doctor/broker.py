"""Celery's broker: whether it answers, what it may lose, and who can get at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings

from warmer.doctor.check import CacheCheck, ProjectCheck
from warmer.doctor.finding import Finding, NotApplicable, error, ok, warning
from warmer.doctor.persistence import failures, what_is_kept
from warmer.doctor.project import Cache, Project
from warmer.doctor.security import without_password
from warmer.doctor.words import set_option_by
from warmer.humanize import duration
from warmer.tasks import Broker

IN_PROCESS = "tasks run in process: there is no broker"
NO_REDIS = "the broker is no Redis server"


@dataclass(frozen=True)
class BrokerAnswers(ProjectCheck):
    """Celery's broker answers."""

    id = "broker"
    subject = "broker"

    def look(self, project: Project) -> Iterator[Finding]:
        broker = project.broker()
        if broker.in_process and settings.DEBUG:
            yield ok("none: tasks run in process, as is usual in development")
        elif broker.in_process:
            yield warning(
                "CELERY_TASK_ALWAYS_EAGER is on: tasks run in the process that sends them.",
                why="A request that changes a row waits for the warm, and nothing runs on schedule.",
                fix="CELERY_TASK_ALWAYS_EAGER = False\nwith CELERY_BROKER_URL set to a broker.",
            )
        elif broker.problem:
            yield error(
                f"{broker.address} does not answer: {broker.problem}.",
                why="No run starts: nothing is refreshed, and keys expire.",
                fix="CELERY_BROKER_URL=redis://:PASSWORD@HOST:PORT/0\nmust lead to a server that is up: "
                "systemctl status redis, or docker compose ps.",
            )
        else:
            yield ok(f"{broker.address} answers")


@dataclass(frozen=True)
class BrokerApart(CacheCheck):
    """The cache and the broker are two servers."""

    id = "broker-apart"

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        broker, place = project.broker(), cache.redis.place
        if broker.in_process:
            raise NotApplicable(IN_PROCESS)
        if not broker.is_redis:
            yield ok(NO_REDIS)
            return
        if not broker.info:
            raise NotApplicable("the broker's server does not tell who it is")
        if broker.info.get("run_id") != cache.redis.info.get("run_id"):
            yield ok(f"the broker is another server, {broker.address}")
            return
        policy, limit = str(broker.info.get("maxmemory_policy")), int(broker.info.get("maxmemory", 0))
        fix = (
            "CELERY_BROKER_URL=redis://:PASSWORD@BROKER-HOST:6379/0\na second server, with "
            "maxmemory-policy noeviction."
        )
        if broker.database == str(place.database):
            yield error(
                f"The cache and the broker share database {place.database} of {place.text}.",
                why="cache.clear() empties the database: the queues too, with every run that waits.",
                fix=f"{fix} At the very least another database number.",
            )
        elif limit and policy.startswith("allkeys-"):
            yield error(
                f"The cache and the broker are one server, {place.text}, which evicts ({policy}).",
                why="When the cache fills the memory, the queues are evicted: runs are lost without a trace.",
                fix=fix,
            )
        else:
            yield warning(
                f"The cache and the broker are one server, {place.text} ({policy}"
                + ("" if limit else ", no limit")
                + ").",
                why="The cache wants a server that evicts and the broker one that does not; when the cache "
                "fills the memory, no task can be sent.",
                fix=fix,
            )


@dataclass(frozen=True)
class BrokerTimeouts(ProjectCheck):
    """Who sends a task does not wait for ever for a broker that hangs."""

    id = "broker-timeouts"
    subject = "broker"

    def look(self, project: Project) -> Iterator[Finding]:
        broker = _redis_broker(project)
        if broker.waits is not None:
            yield ok(f"a client waits {duration(broker.waits)} for an answer")
            return
        yield warning(
            "Celery's broker_transport_options have no socket_timeout.",
            why="When the server hangs, a page that sends a task waits for ever, and so do the workers. What "
            "warmer sends itself is bounded.",
            fix='CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 5, "socket_connect_timeout": 2, ...}',
        )


@dataclass(frozen=True)
class BrokerEviction(ProjectCheck):
    """The broker does not throw messages away."""

    id = "broker-eviction"
    subject = "broker"
    after = ("broker",)

    def look(self, project: Project) -> Iterator[Finding]:
        broker = _redis_broker(project)
        if not broker.info:
            raise NotApplicable("the broker's server does not tell its policy")
        policy, limit = str(broker.info.get("maxmemory_policy")), int(broker.info.get("maxmemory", 0))
        if not policy.startswith("allkeys-"):
            yield ok(f"maxmemory-policy {policy}")
            return
        problem = error if limit else warning
        yield problem(
            f"maxmemory-policy of the broker {broker.address} is {policy}"
            + ("." if limit else "; without a limit it has no effect yet."),
            why="When memory is short the queues are evicted: runs are lost without a trace.",
            fix=set_option_by(_redis_cli, "maxmemory-policy", "noeviction"),
        )


@dataclass(frozen=True)
class BrokerPersistence(ProjectCheck):
    """The broker's messages outlive a restart of its server."""

    id = "broker-persistence"
    subject = "broker"
    after = ("broker",)

    def look(self, project: Project) -> Iterator[Finding]:
        broker = _redis_broker(project)
        yield from failures(broker.info, _redis_cli)
        if not broker.options:
            raise NotApplicable("the broker's server does not tell what it keeps")
        kept = what_is_kept(
            save=broker.options.get("save", ""), appends=broker.options.get("appendonly") == "yes"
        )
        if kept:
            yield ok(kept)
        else:
            yield warning(
                f"The broker {broker.address} keeps nothing on disk: save is empty, and appendonly is 'no'.",
                why="A restart of the server loses every message that waits: those runs are lost, and other "
                "tasks of the project without a trace.",
                fix=set_option_by(_redis_cli, "appendonly", "yes"),
            )


@dataclass(frozen=True)
class BrokerExposure(ProjectCheck):
    """Without a password the broker is reached from its own machine only."""

    id = "broker-exposure"
    subject = "broker"
    after = ("broker",)

    def look(self, project: Project) -> Iterator[Finding]:
        broker = _redis_broker(project)
        if not broker.is_open:
            yield ok("a password is required")
            return
        if not broker.options:
            raise NotApplicable("the broker's server does not tell where it listens")
        yield without_password(
            broker.options.get("bind", ""),
            protected=broker.options.get("protected-mode") == "yes",
            fix=f"{set_option_by(_redis_cli, 'requirepass', 'PASSWORD')}\nwith "
            f"CELERY_BROKER_URL=redis://:PASSWORD@BROKER-HOST:6379/{broker.database} in the project. Or in "
            "redis.conf, where only this machine needs it: bind 127.0.0.1",
        )


def _redis_broker(project: Project) -> Broker:
    """Return the broker, where it is a Redis server.

    Raises:
        NotApplicable: it is none.
    """
    broker = project.broker()
    if broker.in_process:
        raise NotApplicable(IN_PROCESS)
    if not broker.is_redis:
        raise NotApplicable(NO_REDIS)
    return broker


def _redis_cli(words: str) -> str:
    return f"redis-cli -h BROKER-HOST {words}"
