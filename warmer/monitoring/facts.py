"""What the layers above see of Celery, as plain data for those that judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BROKER_OPTIONS = ("save", "appendonly", "bind", "protected-mode")


@dataclass(frozen=True, kw_only=True)
class Broker:
    """The broker that Celery is set up with.

    Attributes:
        app: the Celery app's name, as in `celery -A`.
        in_process: there is none: tasks run in the process that sends them.
        address: without a login.
        problem: why it cannot be used; empty when it can.
        database: of a Redis broker, the number of its database.
        info: of a Redis broker, what its INFO says.
        options: of a Redis broker, what its CONFIG says of `BROKER_OPTIONS`.
        is_open: of a Redis broker, whether it serves who gives no password.
        is_redis: whether it is one; of another kind only the queues are known.
        accepts: the formats of messages that a worker takes.
        waits: of a Redis broker, for how many seconds a client waits for an answer; None: for ever.
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


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A queue, with the workers that consume it.

    Attributes:
        problem: why there is no worker; empty when there is one.
        length: how many messages wait there; None: the broker does not tell.
    """

    name: str
    workers: tuple[str, ...] = ()
    problem: str = ""
    length: int | None = None
