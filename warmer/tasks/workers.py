"""What Celery tells of its workers, its queues and its broker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from celery import current_app
from kombu.exceptions import OperationalError as BrokerError

from warmer.monitoring.facts import BROKER_OPTIONS, Broker, Queue
from warmer.report import describe
from warmer.tasks import broker
from warmer.tasks.broker import BrokerUnavailable


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Which workers would take a job, or why none would, and what to do."""

    names: tuple[str, ...] = ()
    problem: str = ""
    advice: str = ""


def find_workers(
    queue: str, *, timeout: float = 1.0, within: float | None = None, one_will_do: bool = False
) -> Workers:
    """Ask for workers that consume a queue.

    Args:
        timeout: for how many seconds to wait for their answers.
        within: how many seconds all of it may take; default: as the broker's own bounds are.
        one_will_do: do not wait for others when the first that answers consumes the queue.
    """
    if current_app.conf.task_always_eager:
        return Workers(
            problem="no broker is configured: tasks run in process",
            advice="Name a broker in CELERY_BROKER_URL, with CELERY_TASK_ALWAYS_EAGER off.",
        )
    end = None if within is None else time.monotonic() + within
    try:
        answers = _first_of(queue, timeout, end) if one_will_do else _active_queues(timeout, end)
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


def _first_of(queue: str, timeout: float, end: float | None) -> dict[str, list[dict[str, Any]]]:
    """Return what the first worker that answers consumes, or all do where that is not this queue."""
    asked_at = time.monotonic()
    answers = _active_queues(timeout, end, limit=1)
    is_nobody_there = not answers and time.monotonic() - asked_at >= timeout
    if is_nobody_there or _consumers(queue, answers):
        return answers
    # The first consumes other queues; or what came so soon was a late answer to another question.
    return _active_queues(timeout, end)


def _consumers(queue: str, answers: Mapping[str, list[dict[str, Any]]]) -> tuple[str, ...]:
    return tuple(name for name, queues in answers.items() if any(q["name"] == queue for q in queues))


def _app_name() -> str:
    return current_app.main or "PROJECT"


def _active_queues(
    timeout: float, end: float | None, *, limit: int | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Return which queues each worker consumes, of those that answer.

    Celery's own `inspect` would send by the pool, and try without an end where the broker goes away.

    Args:
        timeout: for how many seconds in which nobody answers it goes on, until `limit` have.
        end: when it has to be over, by the monotonic clock.

    Raises:
        BrokerUnavailable: the broker does not answer.
    """
    seconds = broker.BROKER_SECONDS
    if end is not None:
        seconds = max(min(seconds, end - time.monotonic()), 0.01)
    with broker.connected(seconds=seconds) as connection:
        channel = connection.default_channel
        mailbox = current_app.control.mailbox(connection)
        mailbox.producer_pool = SimpleNamespace(acquire=lambda: broker.Once(channel, auto_declare=False))
        if end is not None:
            timeout = max(min(timeout, end - time.monotonic()), 0.01)
        answers = mailbox.multi_call("active_queues", timeout=timeout, limit=limit, channel=channel) or []
    return {name: queues for answer in answers for name, queues in answer.items() if isinstance(queues, list)}


def look_at_broker() -> Broker:
    """Ask the broker whether it serves; a Redis one also what its INFO and CONFIG say."""
    known: dict[str, Any] = {
        "app": _app_name(),
        "accepts": tuple(current_app.conf.accept_content or ()),
    }
    if current_app.conf.task_always_eager:
        return Broker(**known, in_process=True)
    with broker.bounded() as connection:
        known |= {
            "address": broker.address_of(connection),
            "is_redis": connection.transport.driver_type == "redis",
            "waits": current_app.conf.broker_transport_options.get("socket_timeout"),
            "database": str(connection.virtual_host or "").strip("/") or "0",
        }
        try:
            broker.reach(connection, seconds=broker.BROKER_SECONDS)
            if known["is_redis"]:
                known |= {"info": _redis_info(connection), "options": _redis_options(connection)}
                known |= {"is_open": not connection.password or _serves_strangers()}
        except (BrokerError, OSError, *connection.connection_errors) as error:
            return Broker(**known, problem=describe(error))
    return Broker(**known)


def look_at_queue(name: str) -> Queue:
    """Ask for the workers that consume a queue, and for how many messages wait there."""
    workers = find_workers(name)
    return Queue(name=name, workers=workers.names, problem=workers.problem, length=_queue_length(name))


def _queue_length(name: str) -> int | None:
    if current_app.conf.task_always_eager:
        return None
    try:
        with broker.connected() as connection:
            try:
                return int(connection.default_channel.queue_declare(queue=name, passive=True).message_count)
            except connection.channel_errors:
                return 0  # Redis has no list where nothing waits
    except BrokerUnavailable:
        return None


def _redis_info(connection: Any) -> dict[str, Any]:
    """Return the server's INFO; nothing when it does not allow that to this user."""
    try:
        return dict(connection.default_channel.client.info())
    except connection.channel_errors:
        return {}


def _serves_strangers() -> bool:
    """Say whether a Redis broker answers who gives no password."""
    with broker.bounded() as connection:
        connection.userid = connection.password = None
        try:
            broker.reach(connection, seconds=broker.BROKER_SECONDS)
            return bool(connection.default_channel.client.ping())
        except (BrokerError, OSError, *connection.connection_errors, *connection.channel_errors):
            return False


def _redis_options(connection: Any) -> dict[str, str]:
    """Return the server's options; none when it does not allow that to this user."""
    try:
        found = [connection.default_channel.client.config_get(name) for name in BROKER_OPTIONS]
    except connection.channel_errors:
        return {}
    return {name: str(value) for each in found for name, value in each.items()}
