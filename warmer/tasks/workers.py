"""What Celery tells of its workers, its queues and its broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import current_app

from warmer.report import describe
from warmer.stores import inspect_redis
from warmer.tasks import broker
from warmer.tasks.broker import BrokerUnavailable

if TYPE_CHECKING:
    from warmer.stores.inspection import Server


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
    """The broker that Celery uses.

    Attributes:
        app: the Celery app's name, as in `celery -A`.
        in_process: there is none: tasks run in the process that sends them.
        address: without a login.
        problem: why it cannot be used; empty if it can.
        accepts: the formats of messages that a worker accepts.
        server: the server of a Redis broker that answers.
        timeout: for how many seconds a client of a Redis broker waits for an answer; None: for ever.
    """

    app: str = "PROJECT"
    in_process: bool = False
    address: str = ""
    problem: str = ""
    accepts: tuple[str, ...] = ("json",)
    server: Server | None = None
    timeout: float | None = None


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
    """Return the broker, and whether it answers."""
    accepts = tuple(current_app.conf.accept_content or ())
    if current_app.conf.task_always_eager:
        return Broker(app=_app_name(), accepts=accepts, in_process=True)
    address, problem, server = "", "", None
    try:
        address = broker.address_of(broker.bounded())
        with broker.connected(insist=True) as connection:
            if connection.transport.driver_type == "redis":
                # kombu has no public way to the Redis client of a channel (tried with kombu 5.7).
                server = inspect_redis(connection.default_channel.client)
    except BrokerUnavailable as error:
        problem = describe(error.__cause__) if error.__cause__ else str(error)
    return Broker(
        app=_app_name(),
        accepts=accepts,
        address=address,
        problem=problem,
        server=server,
        timeout=current_app.conf.broker_transport_options.get("socket_timeout"),
    )


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
