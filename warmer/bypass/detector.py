"""The detector, as it is switched on and asked, for all connections of a thread."""

from __future__ import annotations

import atexit
from contextlib import suppress
from functools import cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from warmer.bypass.events import Match, root_of
from warmer.bypass.modes import mode
from warmer.bypass.watches import Watch, watch_of, watches_of_thread
from warmer.spec import JobSpec


def check() -> None:
    """Judge, now, what this thread has written on all its connections in transactions that are over.

    Raises:
        BypassError: there is a bypass, and the mode is "raise".
    """
    for watch in watches_of_thread():
        watch.judge(watch.journal.unmatched())


def forget() -> None:
    """Forget what this thread has written."""
    for watch in watches_of_thread():
        watch.journal.clear()


def follow(connection: BaseDatabaseWrapper) -> None:
    """Watch a connection, or stop, as the settings say."""
    watch = watch_of(connection)
    if mode() == "off":
        if watch is not None:
            watch.remove()
    elif watch is None:
        Watch(connection).install()
        _judge_at_exit()


def follow_settings(**_: Any) -> None:
    """Do so for all connections of this thread.

    Raises:
        ImproperlyConfigured: `WARMER_BYPASS` is none of the four.
    """
    mode()
    for connection in connections.all(initialized_only=True):
        follow(connection)


def on_connection(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """`connection_created`."""
    follow(connection)


def on_setting(*, setting: str, **_: Any) -> None:
    """`setting_changed`, as tests send it."""
    if setting in ("WARMER_BYPASS", "DEBUG"):
        with suppress(ImproperlyConfigured):  # said when a connection is made
            follow_settings()


def on_request_finished(**_: Any) -> None:
    """`request_finished`."""
    check()


def on_record(sender: JobSpec | None, *, found: Any, using: Any, by_hand: bool, **_: Any) -> None:
    """`change_recorded`: it may match what was written, or will be."""
    if sender is not None:
        for watch in watches_of_thread():
            # Before a commit it is too early, and after it, with the transaction gone, it may get lost.
            if not watch.connection.in_atomic_block:
                watch.journal.match(Match(root=None, concern=None, spec=sender, by_hand=True))
        return
    connection = connections[using]
    watched = watch_of(connection)
    if watched is not None:
        root = root_of(connection)
        for concern, _ids in found:
            watched.journal.match(Match(root=root, concern=concern, spec=concern.spec, by_hand=by_hand))


@cache
def _judge_at_exit() -> None:
    atexit.register(_at_exit)


def _at_exit() -> None:
    """Judge what is left; nobody could catch an error any more."""
    how = mode()
    for watch in watches_of_thread():
        watch.judge(watch.journal.unmatched(), how="warn" if how == "raise" else how)
