"""Query Celery's workers, queues and broker."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from celery import current_app

from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.stores import Place, Server
from warmer.tasks import broker
from warmer.tasks.broker import BrokerUnavailable, app_name

# An idle worker answers in milliseconds. Celery cannot know which answer is the last, so it always waits.
OTHERS_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The workers of a queue, or why none is known, and what to do.

    Attributes:
        may_work: the queue accepts messages, and a worker that did not answer may consume it: its remote
            control is off, or it is busy with a long task in the pool `solo`; on SQS none answers.
    """

    names: tuple[str, ...] = ()
    problem: str = ""
    advice: str = ""
    may_work: bool = True


@dataclass(frozen=True, kw_only=True)
class Broker:
    """The broker that Celery uses.

    Attributes:
        in_process: there is none, and tasks run in the process that sends them.
        address: without credentials.
        place: where a Redis broker is, and how a client logs in.
        problem: why it cannot be used; empty if it can.
        server: the server of a Redis broker that answers.
        timeout: the seconds that a client of a Redis broker waits for an answer; None: forever.
    """

    in_process: bool = False
    address: str = ""
    place: Place | None = None
    problem: str = ""
    server: Server | None = None
    timeout: float | None = None


def find_workers(queue: str, *, timeout: float = 1.0) -> Workers:
    """Find workers that consume a queue.

    Args:
        timeout: seconds to wait for the first answer, and for the queue's worker if another one answers.
    """
    if current_app.conf.task_always_eager:
        return Workers(
            problem="no broker is configured: tasks run in process",
            advice="Name a broker in CELERY_BROKER_URL, with CELERY_TASK_ALWAYS_EAGER off.",
            may_work=False,
        )
    if queue in undeclared_queues():
        problem, advice = broker.UNDECLARED.format(queue=queue).split(". ", 1)
        return Workers(problem=problem, advice=advice, may_work=False)
    try:
        found = consumers(timeout=timeout)
        if found and queue not in found:
            found = consumers(timeout=timeout, others=timeout)
    except BrokerUnavailable as error:
        why = str(error)
        advice = "CELERY_BROKER_URL must lead to a server that is up: see 'manage.py cache_doctor'."
        return Workers(problem=why[0].lower() + why[1:], advice=advice, may_work=False)
    if queue in found:
        return Workers(names=tuple(found[queue]))
    start = f"Start 'celery -A {app_name()} worker -Q {queue}'."
    if found:  # they run, so do not say that none does
        return Workers(problem=f"no worker that answered consumes the queue {queue!r}", advice=start)
    return Workers(problem="no worker answered", advice=start)


def consumers(*, timeout: float, others: float = OTHERS_SECONDS) -> dict[str, list[str]]:
    """Return the names of the workers that answer, by the queues that they consume.

    Args:
        timeout: seconds to wait for the first answer.
        others: seconds to wait for the others.

    Raises:
        BrokerUnavailable: the broker does not answer.
    """
    with broker.connected() as connection:
        answers: dict[str, Any] = {}
        for seconds, limit in ((timeout, 1), (others, None)):
            inspect = current_app.control.inspect(connection=connection, timeout=seconds, limit=limit)
            answers |= inspect.active_queues() or {}
    found = defaultdict[str, list[str]](list)
    for name, queues in answers.items():
        for queue in queues if isinstance(queues, list) else ():  # otherwise it is an error
            found[queue["name"]].append(name)
    return found


def queue_names(specs: Iterable[JobSpec]) -> list[str]:
    """Return the queues of the jobs and of upkeep."""
    return sorted({spec.queue for spec in specs} | {conf.QUEUE})


def undeclared_queues() -> list[str]:
    """Return the queues to which Celery cannot send, because the project declares its queues without them."""
    if current_app.conf.task_create_missing_queues:
        return []
    return [name for name in queue_names(jobs.specs()) if name not in current_app.amqp.queues]


def queue_lengths(names: Iterable[str]) -> dict[str, int]:
    """Return how many messages wait in each queue, without queues whose length the broker does not report."""
    lengths: dict[str, int] = {}
    if current_app.conf.task_always_eager:
        return lengths
    with suppress(BrokerUnavailable), broker.connected() as connection:
        # On Redis, a passive declaration fails for an empty queue, and for any with a `global_keyprefix`. An
        # active one writes nothing there.
        passive = connection.transport.driver_type != "redis"
        for name in names:
            with suppress(*connection.channel_errors), connection.channel() as channel:
                lengths[name] = int(channel.queue_declare(queue=name, passive=passive).message_count)
    return lengths


def look_at_broker() -> Broker:
    """Return the broker, and whether it answers, even if it did not a moment ago."""
    if current_app.conf.task_always_eager:
        return Broker(in_process=True)
    address, place, problem, server = "", None, "", None
    try:
        connection = broker.bounded()
        address = broker.address_of(connection)
        place = _place(connection, address)
        broker.forget()
        with broker.connected() as connection:
            if connection.transport.driver_type == "redis":
                # kombu has no public way to the Redis client of a channel (tried with kombu 5.7).
                server = Server(connection.default_channel.client)
    except BrokerUnavailable as error:
        problem = str(error)
    return Broker(
        address=address,
        place=place,
        problem=problem,
        server=server,
        timeout=current_app.conf.broker_transport_options.get("socket_timeout"),
    )


def _place(connection: Any, address: str) -> Place | None:
    """Return the place of a Redis broker; None for others, unix sockets and Sentinels."""
    if not address.startswith(("redis://", "rediss://")):
        return None
    return Place(
        text=address,
        host=connection.hostname or "localhost",
        port=connection.port or 6379,
        database=int(connection.virtual_host) if connection.virtual_host.isdigit() else 0,
        tls=bool(connection.ssl),
        username=connection.userid or "",
        has_password=bool(connection.password),
    )
