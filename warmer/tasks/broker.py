"""Send messages to Celery's broker and query it without waiting long, in requests, saves and commands.

Few projects set time-outs for their broker, so a process would wait forever for one that hangs. Connections
made here have their own time-outs, and a broker that did not answer is not contacted again for a moment.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from celery import Task, current_app
from celery.exceptions import QueueNotFound
from django.conf import settings
from kombu.exceptions import OperationalError as BrokerError
from kombu.serialization import registry

from warmer.exceptions import WarmerError
from warmer.report import describe, masked

# The caller needs an answer soon.
BROKER_SECONDS = 3.0
# How long to avoid a broker that did not answer; otherwise the waits of many saves or jobs would add up.
REST_SECONDS = 5.0
UNDECLARED = (
    "Celery does not know the queue {queue!r}. Add Queue({queue!r}) to CELERY_TASK_QUEUES, or set "
    "CELERY_TASK_CREATE_MISSING_QUEUES = True."
)
INVALID = (
    "The broker's address or CELERY_BROKER_TRANSPORT_OPTIONS is invalid: the database of Redis must be a "
    "number, and Sentinels need a master_name"
)
NAMESPACE = (
    'app.config_from_object("django.conf:settings", namespace="CELERY")\n'
    "in the project's celery.py. The __init__.py beside it imports the app. "
    "It then reads CELERY_BROKER_URL; without a namespace, BROKER_URL."
)
JSON = (
    'CELERY_ACCEPT_CONTENT = ["json"]\nCELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = "json"\n'
    "Set all three, or no task runs. The project's own tasks must then take plain data."
)
# Formats that run code when they are decoded.
_UNSAFE = {"application/x-python-serialize", "application/x-yaml"}


class BrokerUnavailable(WarmerError):
    """The broker does not answer, or rejects the message."""


# By the broker's address: when it last failed to answer this process, and why.
_failures: dict[str, tuple[float, str]] = {}


def send(task: Task, args: tuple[Any, ...] = (), **options: Any) -> None:
    """Send a message; for the options see Celery's `apply_async`.

    It opens its own connection, which takes 6 ms, where Celery's pool takes 0.5. So it is for messages that
    request a run; a run's messages for its batches use the pool.

    Raises:
        BrokerUnavailable: it does not answer, or Celery cannot send the message.
    """
    if current_app.conf.task_always_eager:
        task.apply_async(args, **options)
        return
    with connected() as connection:
        # No retry: the connection is new, and a message whose sending timed out may still arrive.
        try:
            task.apply_async(args, connection=connection, retry=False, **options)
        except QueueNotFound:
            raise BrokerUnavailable(UNDECLARED.format(queue=options["queue"])) from None


def is_resting() -> bool:
    """Return whether the broker did not answer a moment ago, and is avoided."""
    return any(map(_recent_failure, _failures))


@contextmanager
def connected() -> Iterator[Any]:
    """Yield an open connection with time-outs.

    Raises:
        BrokerUnavailable: the broker does not answer, did not a moment ago, or stops answering.
    """
    connection = bounded()
    address = address_of(connection)
    if why := _recent_failure(address):
        raise BrokerUnavailable(why)
    with connection:
        try:
            reach(connection)
            yield connection
        except (BrokerError, OSError, *connection.connection_errors) as error:
            why = f"The broker does not answer: {describe(error)}, at {address}"
            if not current_app.conf.broker_write_url:
                name = f"{current_app.namespace or ''}_BROKER_URL".removeprefix("_")
                why = f"No broker is set: {name} is missing, so Celery uses {address}"
            _failures[address] = time.monotonic(), why
            raise BrokerUnavailable(why) from error
        except connection.channel_errors as error:  # e.g. it is full
            raise BrokerUnavailable(f"The broker rejects it: {describe(error)}, at {address}") from error
    _failures.pop(address, None)


def bounded() -> Any:
    """Return a connection to the broker, not yet open, whose calls end within `BROKER_SECONDS`.

    Raises:
        BrokerUnavailable: Celery cannot use the broker's address.
    """
    try:
        connection = current_app.connection_for_write(connect_timeout=BROKER_SECONDS)
        is_redis = connection.transport.driver_type == "redis"
        if _lacks_scheme(connection.hostname or ""):
            raise ValueError
    except (KeyError, ImportError) as error:  # e.g. "No such transport: unix"
        raise BrokerUnavailable(f"The broker's address cannot be used: {describe(error)}") from None
    except ValueError:  # its text may contain a part of the password
        raise BrokerUnavailable("The broker's address cannot be parsed") from None
    if is_redis:  # limits an AMQP handshake
        waits = {"socket_timeout": BROKER_SECONDS, "socket_connect_timeout": BROKER_SECONDS}
        connection.transport_options.update(waits)
    return connection


def problem_of_address() -> str:
    """Return why Celery cannot use the broker's address, without connecting; empty if it can."""
    try:
        if not current_app.conf.task_always_eager and any(map(_lacks_scheme, bounded().alt)):
            return "Another host in the broker's address cannot be parsed"  # Celery uses it after a failover
    except BrokerUnavailable as error:
        return str(error)
    return ""


def _lacks_scheme(host: str) -> bool:
    """Return whether kombu takes an address for the name of a host, as it does with `redis//host`."""
    return "/" in host and "://" not in host


def reach(connection: Any) -> None:
    """Open a connection to one of the hosts in its address; raises kombu's errors.

    Raises:
        BrokerUnavailable: a part of the address is missing or wrong, e.g. the name of a Sentinel's master.
    """
    tries = max(len(connection.alt), 1)
    try:
        connection.ensure_connection(
            max_retries=tries, interval_start=0, interval_step=0, timeout=BROKER_SECONDS
        )
    except ValueError:  # its text may contain a part of the password
        raise BrokerUnavailable(INVALID) from None


def address_of(connection: Any) -> str:
    """Return the address of a connection, without credentials."""
    address = masked(connection.as_uri()).replace("***@", "")
    # A password with a slash that is not escaped ends in the path.
    return re.sub(r"(?<=[^:/])/.*%40.*", "/***", address)


def forget() -> None:
    """Forget which brokers did not answer."""
    _failures.clear()


def _recent_failure(address: str) -> str:
    """Return why a broker is avoided; empty if it is not."""
    at, why = _failures.get(address, (0.0, ""))
    ago = time.monotonic() - at
    return f"{why} ({ago:.0f} s ago, not retried yet)" if why and ago < REST_SECONDS else ""


# -- how the project's Celery app is set up -------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem with a setting, for a system check and the doctor."""

    message: str
    why: str
    fix: str


def problem_of_formats() -> Problem | None:
    """Return the problem with the formats of Celery's messages, if there is one."""
    sent, accepted = current_app.conf.task_serializer, list(current_app.conf.accept_content or ())
    if _type(sent) not in map(_type, accepted):
        message = f"Celery sends tasks as {sent!r}, which its workers do not accept."
        why = "No worker answers, and no task runs."
    elif _UNSAFE.intersection(map(_type, accepted)):
        message = f"Celery accepts {', '.join(map(repr, accepted))}."
        why = "Anyone who can write to the broker can run code in every worker."
    else:
        return None
    return Problem(message=message, why=why, fix=JSON)


def unread_setting() -> str:
    """Return a broker setting that the Celery app does not read; empty if there is none."""
    conf = current_app.conf
    if conf.task_always_eager or os.environ.get("CELERY_BROKER_URL"):  # Celery prefers it to every setting
        return ""
    read = (conf.broker_url, conf.broker_read_url, conf.broker_write_url)
    given = {name: getattr(settings, name, None) for name in ("CELERY_BROKER_URL", "BROKER_URL")}
    return next((name for name, url in given.items() if url and url not in read), "")


def has_broker() -> bool:
    """Return whether a broker is configured, so that other processes execute the tasks."""
    return bool(current_app.conf.broker_url) and not current_app.conf.task_always_eager


def app_name() -> str:
    """Return the name of the project's app, as in `celery -A`."""
    name = current_app.main or "default"
    return "PROJECT" if name == "default" else name  # "default": Celery's own app, if there is no other


def _type(name: str) -> str:
    return str(registry.name_to_type.get(name, name))
