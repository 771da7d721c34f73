"""What Celery tells of its workers, its queues and its broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from celery import current_app
from kombu.exceptions import OperationalError

from warmer.report import describe
from warmer.tasks import broker
from warmer.tasks.broker import BrokerUnavailable

# What the doctor reads of a Redis broker's CONFIG.
OPTIONS = ("save", "appendonly", "bind", "protected-mode")


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Which workers would take a job, or why none would, and what to do."""

    names: tuple[str, ...] = ()
    problem: str = ""
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A queue, with the workers that consume it.

    Attributes:
        problem: why there is no worker; empty if there is one.
        length: how many messages wait there; None: the broker does not tell.
    """

    name: str
    workers: tuple[str, ...] = ()
    problem: str = ""
    length: int | None = None


@dataclass(frozen=True, kw_only=True)
class Broker:
    """The broker that Celery uses. What only a Redis one tells is empty for any other.

    Attributes:
        app: the Celery app's name, as in `celery -A`.
        in_process: there is none: tasks run in the process that sends them.
        address: without a login.
        problem: why it cannot be used; empty if it can.
        database: the number of its database.
        info, options: what its INFO says, and its CONFIG of `OPTIONS`.
        is_open: whether it serves clients that give no password.
        accepts: the formats of messages that a worker takes.
        waits: for how many seconds a client waits for an answer; None: for ever.
    """

    app: str = "PROJECT"
    in_process: bool = False
    address: str = ""
    problem: str = ""
    is_redis: bool = False
    database: str = ""
    accepts: tuple[str, ...] = ("json",)
    info: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    is_open: bool = False
    waits: float | None = None


def find_workers(queue: str, *, timeout: float = 1.0, one_will_do: bool = False) -> Workers:
    """Ask for workers that consume a queue.

    Args:
        timeout: for how many seconds to wait for an answer, and for each further one.
        one_will_do: do not wait for others if the first that answers consumes the queue.
    """
    if current_app.conf.task_always_eager:
        return Workers(
            problem="no broker is configured: tasks run in process",
            advice="Name a broker in CELERY_BROKER_URL, with CELERY_TASK_ALWAYS_EAGER off.",
        )
    try:
        with broker.connected() as connection:
            answers = _active_queues(connection, timeout, limit=1) if one_will_do else {}
            if not _consumers(queue, answers):  # also if the first was a late answer to another question
                answers = _active_queues(connection, timeout)
    except BrokerUnavailable as error:
        why = str(error)
        return Workers(
            problem=why[0].lower() + why[1:],
            advice="CELERY_BROKER_URL must lead to a server that is up: see 'manage.py cache_doctor'.",
        )
    if names := _consumers(queue, answers):
        return Workers(names=names)
    start = f"Start 'celery -A {_app_name()} worker -Q {queue}'."
    if answers:
        return Workers(problem=f"no worker consumes the queue {queue!r}", advice=start)
    return Workers(problem="no worker answers", advice=start)


def look_at_queue(name: str) -> Queue:
    """Ask for the workers that consume a queue, and how many messages wait there."""
    found = find_workers(name)
    length = None
    if not current_app.conf.task_always_eager:
        try:
            with broker.connected() as connection:
                declare = partial(connection.default_channel.queue_declare, queue=name, passive=True)
                # A Redis broker raises where nothing waits.
                length = _allowed(connection, lambda: int(declare().message_count), 0)
        except BrokerUnavailable:
            pass
    return Queue(name=name, workers=found.names, problem=found.problem, length=length)


def look_at_broker() -> Broker:
    """Ask the broker whether it serves; a Redis one also for its INFO and CONFIG."""
    known: dict[str, Any] = {
        "app": _app_name(),
        "accepts": tuple(current_app.conf.accept_content or ()),
    }
    if current_app.conf.task_always_eager:
        return Broker(**known, in_process=True)
    connection = broker.bounded()
    known |= {
        "address": broker.address_of(connection),
        "is_redis": connection.transport.driver_type == "redis",
        "waits": current_app.conf.broker_transport_options.get("socket_timeout"),
        "database": str(connection.virtual_host or "").strip("/") or "0",
    }
    try:
        with broker.connected(insist=True) as connection:
            if known["is_redis"]:
                client = connection.default_channel.client
                known["info"] = _allowed(connection, client.info, {})
                found = [_allowed(connection, partial(client.config_get, name), {}) for name in OPTIONS]
                known["options"] = {name: str(value) for each in found for name, value in each.items()}
                known["is_open"] = not connection.password or _serves_strangers()
    except BrokerUnavailable as error:
        return Broker(**known, problem=describe(error.__cause__ or error))
    return Broker(**known)


def _active_queues(
    connection: Any, timeout: float, *, limit: int | None = None
) -> dict[str, list[dict[str, Any]]]:
    inspect = current_app.control.inspect(connection=connection, timeout=timeout, limit=limit)
    answers = inspect.active_queues() or {}
    return {name: queues for name, queues in answers.items() if isinstance(queues, list)}


def _consumers(queue: str, answers: Mapping[str, list[dict[str, Any]]]) -> tuple[str, ...]:
    return tuple(name for name, queues in answers.items() if any(q["name"] == queue for q in queues))


def _app_name() -> str:
    return current_app.main or "PROJECT"


def _allowed(connection: Any, ask: Callable[[], Any], otherwise: Any) -> Any:
    """Return an answer of the broker, or something else if it does not give that to this user."""
    try:
        return ask()
    except connection.channel_errors:
        return otherwise


def _serves_strangers() -> bool:
    """Return whether a Redis broker serves clients that give no password."""
    with broker.bounded() as connection:
        connection.userid = connection.password = None
        try:
            broker.reach(connection)
            return bool(connection.default_channel.client.ping())
        except (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors):
            return False
