"""What Celery tells of its workers, its queues and its broker."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from celery import current_app
from kombu.exceptions import OperationalError as BrokerError

from warmer.monitoring.facts import BROKER_OPTIONS, Broker, Queue
from warmer.report import describe

# Who asks how the broker is wants an answer soon.
BROKER_SECONDS = 3
_LOGIN = re.compile(r"//[^/]*@")


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Which workers would take a job, or why none would."""

    names: tuple[str, ...] = ()
    problem: str = ""


def find_workers(queue: str, *, timeout: float = 1.0) -> Workers:
    """Ask for workers that consume a queue, waiting `timeout` seconds for their answers."""
    if current_app.conf.task_always_eager:
        return Workers(problem="no broker is configured: tasks run in process")
    try:
        answers = current_app.control.inspect(timeout=timeout).active_queues() or {}
    except (BrokerError, OSError) as error:
        return Workers(problem=f"the broker does not answer: {describe(error)}")
    names = tuple(name for name, queues in answers.items() if any(q["name"] == queue for q in queues))
    if names:
        return Workers(names=names)
    if answers:
        return Workers(problem=f"no worker consumes the queue {queue!r}")
    return Workers(problem="no worker answers")


def look_at_broker() -> Broker:
    """Ask the broker whether it serves; a Redis one also what its INFO and CONFIG say."""
    known: dict[str, Any] = {
        "app": current_app.main or "PROJECT",
        "accepts": tuple(current_app.conf.accept_content or ()),
    }
    if current_app.conf.task_always_eager:
        return Broker(**known, in_process=True)
    with _broker() as connection:
        known |= {
            "address": _LOGIN.sub("//", connection.as_uri()),
            "is_redis": connection.transport.driver_type == "redis",
            "database": str(connection.virtual_host or "").strip("/") or "0",
        }
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_SECONDS)
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
    with _broker() as connection:
        try:
            return int(connection.default_channel.queue_declare(queue=name, passive=True).message_count)
        except connection.channel_errors:
            return 0  # Redis has no list where nothing waits
        except (BrokerError, OSError, *connection.connection_errors):
            return None


def _broker() -> Any:
    """Return a connection to the broker, not yet connected, which does not wait long."""
    connection = current_app.connection_for_read()
    if connection.transport.driver_type != "redis":
        return connection
    waits = {"socket_timeout": BROKER_SECONDS, "socket_connect_timeout": BROKER_SECONDS}
    return current_app.connection_for_read(transport_options=waits)


def _redis_info(connection: Any) -> dict[str, Any]:
    """Return the server's INFO; nothing when it does not allow that to this user."""
    try:
        return dict(connection.default_channel.client.info())
    except connection.channel_errors:
        return {}


def _serves_strangers() -> bool:
    """Say whether a Redis broker answers who gives no password."""
    with _broker() as connection:
        connection.userid = connection.password = None
        try:
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
