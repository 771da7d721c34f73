"""Celery's broker, for those who must not wait long for it: a request, a save, a command, the doctor.

What a project's own Celery settings say of time-outs is mostly nothing, and then whoever sends to a broker
that takes connections but hangs waits for ever. So a connection from here has bounds of its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from celery import Task, current_app
from kombu import Producer
from kombu.exceptions import OperationalError as BrokerError

from warmer.exceptions import WarmerError
from warmer.report import describe

# Who asks the broker wants an answer soon.
BROKER_SECONDS = 3.0
# For so long a broker that gave none is left alone: with each request, save or job the wait would add up.
REST_SECONDS = 5.0
_LOGIN = re.compile(r"//[^/]*@")


class BrokerUnavailable(WarmerError):
    """The broker does not answer."""


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """When a broker gave no answer, and what was heard instead."""

    at: float
    why: str


# By the broker's address, for this process.
_failures: dict[str, _Failure] = {}


def send(task: Task, args: tuple[Any, ...] = (), *, insist: bool = False, **options: Any) -> None:
    """Send a message, within a bound; for the options see Celery's `apply_async`.

    On a connection of its own, which costs 6 ms where Celery's pool takes 0.5: it is for what asks for a run.
    What a run sends for its batches goes by the pool.

    Args:
        insist: try also when the broker gave no answer a moment ago.

    Raises:
        BrokerUnavailable: it gives none.
    """
    if current_app.conf.task_always_eager:
        task.apply_async(args, **options)
        return
    with connected(to_write=True, insist=insist) as connection:
        # On a new connection there is nothing to try again, and a try that timed out may arrive all the same.
        task.apply_async(args, connection=connection, retry=False, **options)


def rests() -> bool:
    """Say whether the broker gave no answer a moment ago, so that it is left alone."""
    if not _failures or current_app.conf.task_always_eager:
        return False
    return bool(_heard(address_of(bounded(to_write=True))))


@contextmanager
def connected(*, to_write: bool = False, insist: bool = False, seconds: float | None = None) -> Iterator[Any]:
    """Yield a connection that answered, and of which each call is bounded.

    Args:
        seconds: how long a call may take; default `BROKER_SECONDS`.

    Raises:
        BrokerUnavailable: the broker does not answer, or stops to.
    """
    seconds = BROKER_SECONDS if seconds is None else seconds
    connection = bounded(to_write=to_write, seconds=seconds)
    address = address_of(connection)
    if not insist and (why := _heard(address)):
        raise BrokerUnavailable(why)
    with connection:
        try:
            reach(connection, seconds=seconds)
            yield connection
        except (BrokerError, OSError, *connection.connection_errors) as error:
            why = f"The broker does not answer: {describe(error)}, at {address}"
            _failures[address] = _Failure(at=time.monotonic(), why=why)
            raise BrokerUnavailable(why) from error
        except connection.channel_errors as error:  # e.g. it is full
            raise BrokerUnavailable(f"The broker refuses: {describe(error)}, at {address}") from error
    _failures.pop(address, None)


def reach(connection: Any, *, seconds: float) -> None:
    """Connect, to one or another of the hosts that are named; the errors are those of kombu."""
    tries = max(len(connection.alt), 1)
    connection.ensure_connection(max_retries=tries, interval_start=0, interval_step=0, timeout=seconds)


def bounded(*, to_write: bool = False, seconds: float | None = None) -> Any:
    """Return a connection to the broker, not yet connected, which does not wait long."""
    seconds = BROKER_SECONDS if seconds is None else seconds
    connect = current_app.connection_for_write if to_write else current_app.connection_for_read
    connection = connect(connect_timeout=seconds)
    if connection.transport.driver_type != "redis":
        return connection  # an AMQP broker's handshake is bounded by that
    waits: dict[str, Any] = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    if "sentinel" in str(connection.transport_cls):
        # The Sentinels are asked in turn; redis-py would ask each of them again and again, with pauses.
        own = connection.transport_options.get("sentinel_kwargs") or {}
        waits["sentinel_kwargs"] = own | waits | {"retry": None}
    return connect(connect_timeout=seconds, transport_options=waits)


def address_of(connection: Any) -> str:
    """Return where a connection leads, without the login."""
    return _LOGIN.sub("//", connection.as_uri())


def forget() -> None:
    """Forget which brokers gave no answer."""
    _failures.clear()


class Once(Producer):  # type: ignore[misc]
    """A producer that never tries again: Celery's requests to workers would, without an end."""

    def publish(self, *args: Any, **kwargs: Any) -> Any:
        """Publish a message; for the arguments see kombu's `Producer`."""
        return super().publish(*args, **kwargs | {"retry": False})


def _heard(address: str) -> str:
    """Return what was heard of a broker that is left alone for now."""
    failure = _failures.get(address)
    if failure is None:
        return ""
    ago = time.monotonic() - failure.at
    return f"{failure.why} ({ago:.0f} s ago, and not asked again yet)" if ago < REST_SECONDS else ""
