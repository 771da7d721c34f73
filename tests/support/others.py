"""Other threads that write to the database meanwhile, and processes that are forked beside threads."""

import os
import warnings
from collections.abc import Callable
from threading import Thread

from django.db import connection

from embedded.waiting import wait_until


def in_thread(action: Callable[[], object]) -> Thread:
    """Start a thread with a connection of its own to the database."""

    def run() -> None:
        try:
            action()
        finally:
            connection.close()

    thread = Thread(target=run)
    thread.start()
    return thread


def in_threads(*actions: Callable[[], object]) -> list[Thread]:
    """Start such a thread for each action."""
    return list(map(in_thread, actions))


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


def holds_in_a_fork(check: Callable[[], object]) -> bool:
    """Return whether something is true in a child process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, which is the case
        child = os.fork()
    if not child:
        os._exit(0 if check() else 1)
    return os.waitpid(child, 0)[1] == 0
