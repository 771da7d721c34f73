"""Others that act meanwhile: threads that use the database, the relay of a worker, forked processes."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from django.db import connection

from embedded.waiting import wait_until
from warmer.tasks import relaying


def apart(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a call that closes the connection to the database of the thread that makes it."""

    def run(*args: Any) -> Any:
        try:
            return call(*args)
        finally:
            connection.close()

    return run


def in_thread(action: Callable[[], object]) -> Thread:
    """Start a thread with a connection of its own to the database."""
    thread = Thread(target=apart(action))
    thread.start()
    return thread


def in_threads(*actions: Callable[[], object]) -> list[Thread]:
    return list(map(in_thread, actions))


@contextmanager
def worker() -> Iterator[None]:
    relaying.start()
    try:
        yield
    finally:
        relaying.stop()
        wait_until(lambda: not relaying._open, what="the worker has ended")


def await_end_or_lock(thread: Thread) -> None:
    """Wait until a thread's change is committed, or waits for us.

    On SQLite, where nothing tells of who waits, all that write wait for our commit.
    """
    if connection.vendor != "postgresql":
        return
    wait_until(lambda: not thread.is_alive() or waits_for_a_lock(), what="the other has written, or waits")


def waits_for_a_lock() -> bool:
    """Return whether another connection to this database waits for a lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # else a transaction sees what it saw first
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(cursor.fetchone()[0])


def in_a_fork(action: Callable[[], object]) -> int:
    """Do something in a child process; return its exit code, which is 1 if it raises, and below 0 for a signal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, which is the case
        child = os.fork()
    if not child:
        try:
            action()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def holds_in_a_fork(check: Callable[[], object]) -> bool:
    return in_a_fork(lambda: os._exit(0 if check() else 1)) == 0
