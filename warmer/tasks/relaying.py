"""The relay of a worker: a thread of its main process applies pending changes, outside the task queue.

It has its own database connection, which a forked process must not share. So a fork waits until no query is
in progress, and the connection is closed before it.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import current_app
from celery.signals import worker_ready, worker_shutting_down
from django.db import connections

from warmer.exceptions import StoreUnavailable, log_level
from warmer.invalidation import Relay
from warmer.report import describe

logger = logging.getLogger(__name__)

_polling = threading.Lock()
_stop = threading.Event()
_open: list[Any] = []


@worker_ready.connect(dispatch_uid="warmer.relay")
def start(**_kwargs: Any) -> None:
    """Start the relay, which immediately applies changes left over while no worker ran."""
    _stop.clear()
    threading.Thread(target=_run, name="warmer-relay", daemon=True).start()


@worker_shutting_down.connect(dispatch_uid="warmer.relay")
def stop(**_kwargs: Any) -> None:
    """Tell the relay to stop."""
    _stop.set()


_relay_in_process = Relay()


def request_pending() -> None:
    """Apply pending changes now if tasks run in process; otherwise leave them to a worker's relay."""
    if current_app.conf.task_always_eager:
        try:
            _relay_in_process.poll()
        except StoreUnavailable as error:
            logger.log(log_level(error, logging.WARNING), "Changes wait for the cache: %s", describe(error))


@contextmanager
def _poll() -> Iterator[None]:
    """Hold the connections during a query; in between, return pooled ones for others to use."""
    with _polling:
        try:
            yield
        finally:
            for connection in _open:
                if connection.settings_dict["OPTIONS"].get("pool"):
                    connection.close()


def _run() -> None:
    _open[:] = [connections[alias] for alias in connections]
    for connection in _open:
        connection.inc_thread_sharing()  # the forking thread closes it
    try:
        Relay().run(_stop.wait, polling=_poll)
    finally:
        for connection in _open:
            connection.close()
        _open.clear()


def _before_fork() -> None:
    _polling.acquire()
    for connection in _open:
        connection.close()
        if getattr(connection, "pool", None):  # psycopg's pool: a child process would close its connections
            connection.close_pool()


os.register_at_fork(before=_before_fork, after_in_parent=_polling.release, after_in_child=_polling.release)
