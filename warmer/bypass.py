"""The bypass detector: notices a write past the signals that no invalidation matches.

`queryset.update()`, `bulk_create()` and raw SQL send no signals. Where nobody calls `invalidate_for`, what is
cached stays wrong until its timeout, and nothing tells. So every INSERT, UPDATE and DELETE of a table that a
job depends on is noted, and so is what was recorded to be invalidated. What is left unmatched when its
transaction ends is a bypass: `WARMER_BYPASS` says what happens then.

What matches a statement:
- one that Django makes for `save()`, `delete()` or a many-to-many field, or a `WarmingQuerySet` makes, by
  what was recorded for its table;
- any other, by `invalidate_for` of whatever concerns the same job: its rows are not compared. A save of
  another row is no match;
- before or after it inside a transaction; after it outside, where `job.invalidate()` will do as well.

When is it judged: before the commit of the transaction that the project opened. Without one, or in one that
Django opens for a single call, the match may come a line later: so when the function of the project that did
it has ended and the connection writes again, at the end of the request or of the Celery task, by `check()`,
and at the end of the process.

What is not seen: writes of other programs, of database triggers and cascades, of stored procedures, `COPY`,
and of a model's columns in its parent's table, for a job that depends on the child alone.
"""

from __future__ import annotations

import atexit
import logging
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any, Literal, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import Atomic

from warmer import invalidation
from warmer.changes import EVERY_KEY
from warmer.conf import conf
from warmer.exceptions import BypassError, BypassWarning
from warmer.pending import Committed
from warmer.registry import Concern, jobs
from warmer.spec import JobSpec
from warmer.statements import Origin, ending_block, is_running, origin, parse, table_key

logger = logging.getLogger(__name__)

Mode = Literal["off", "warn", "raise", "invalidate"]
MODES = ("off", "warn", "raise", "invalidate")

OWN = "warmer."
FIX = (
    "Use warmer.querysets.WarmingQuerySet in the model's managers (and name one in Meta.base_manager_name), "
    "or call warmer.invalidate_for(...) after it, in the same transaction."
)
# Without a transaction, how long the match of a write may take while its function is running: a daemon's
# function may never end. A whole job that goes for nothing costs less than one that stays wrong.
PATIENCE_SECONDS = {"warn": 60.0, "raise": 60.0, "invalidate": 1.0, "off": 0.0}


def mode() -> Mode:
    """Return what `WARMER_BYPASS` says.

    Raises:
        ImproperlyConfigured: it is none of the four.
    """
    said = conf.BYPASS or ("warn" if settings.DEBUG else "off")
    if said not in MODES:
        raise ImproperlyConfigured(
            f"WARMER_BYPASS = {said!r}: expected one of {', '.join(map(repr, MODES))}."
        )
    return cast(Mode, said)


def check() -> None:
    """Judge, now, what this thread has written on all its connections in transactions that are over.

    Raises:
        BypassError: there is a bypass, and the mode is "raise".
    """
    for watch in _watches_of_thread():
        watch.judge(watch.unmatched())


def forget() -> None:
    """Forget what this thread has written."""
    for watch in _watches_of_thread():
        watch.clear()


def follow(connection: BaseDatabaseWrapper) -> None:
    """Watch a connection, or stop, as the settings say."""
    watch = _watch_of(connection)
    if mode() == "off":
        if watch is not None:
            watch.remove()
    elif watch is None:
        _Watch(connection).install()


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


def on_record(sender: JobSpec | None, *, found: Any, using: str | None, by_hand: bool, **_: Any) -> None:
    """`change_recorded`: it may match what was written, or will be."""
    if sender is not None:
        for watch in _watches_of_thread():
            # Before a commit it is too early, and after it, with the transaction gone, it may get lost.
            if not watch.connection.in_atomic_block:
                watch.match(_Match(concern=None, spec=sender, by_hand=True))
        return
    watched = _watch_of(connections[using or "default"])
    if watched is not None:
        for concern, _ids in found:
            watched.match(_Match(concern=concern, spec=concern.spec, by_hand=by_hand))


@dataclass(frozen=True, kw_only=True)
class Bypass:
    """A write that nothing matches."""

    table: str
    verb: str
    origin: Origin
    jobs: tuple[JobSpec, ...]

    def __str__(self) -> str:
        names = ", ".join(spec.name for spec in self.jobs)
        verb = {"INSERT": "an INSERT", "UPDATE": "an UPDATE"}.get(self.verb, f"a {self.verb}")
        return (
            f"The table {self.table!r} was changed by {verb} at {self.origin}, and nothing was invalidated "
            f"for the job{'s' if len(self.jobs) > 1 else ''} {names}. {FIX}"
        )


_numbers = count(1)


@dataclass(eq=False, kw_only=True)
class _Event:
    """What happened inside a transaction; Django keeps it as a callback until the commit.

    Django drops the callbacks of what is rolled back, and nothing else holds them.

    Attributes:
        root: the outermost block of the transaction, but for those of a test case; None outside of one.
        survived: called after the commit.
    """

    number: int = field(default_factory=lambda: next(_numbers))
    root: Atomic | None = None
    survived: Callable[[Any], None] | None = None

    def __call__(self) -> None:
        if self.survived is not None:
            self.survived(self)


@dataclass(eq=False, kw_only=True)
class _Write(_Event):
    """A statement that changed a table."""

    table: str
    verb: str
    origin: Origin
    concerns: tuple[Concern, ...]
    at: float
    settled: bool = False

    def left(self, matches: Iterable[_Match]) -> tuple[Concern, ...]:
        """Return the concerns that nothing matches."""
        left = self.concerns
        for match in matches:
            same = match.root is not None and match.root is self.root
            if (match.by_hand or self.origin.told) and (same or match.number > self.number):
                left = tuple(concern for concern in left if not match.fits(concern))
        return left

    def is_over(self, connection: BaseDatabaseWrapper) -> bool:
        """Say whether its transaction has ended."""
        return not any(block is self.root for block in connection.atomic_blocks)

    def is_late(self) -> bool:
        """Say whether its match would have come by now."""
        return not is_running(self.origin.work) or time.monotonic() - self.at > PATIENCE_SECONDS[mode()]


@dataclass(eq=False, kw_only=True)
class _Match(_Event):
    """Something that was recorded to be invalidated."""

    concern: Concern | None
    spec: JobSpec
    by_hand: bool

    def fits(self, concern: Concern) -> bool:
        """Say whether it is what a change of the concern's table asks for.

        Who invalidates by hand may name the rows of another model that the job depends on.
        """
        return concern == self.concern or (self.by_hand and concern.spec is self.spec)


class _Watch:
    """What happened on one connection and is not judged yet."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection: Any = connection
        # Written for good, outside a transaction or in one that is committed.
        self._open: list[_Write] = []
        # Inside transactions, until Django drops them.
        self._inside: dict[Any, weakref.ref[_Event]] = {}
        self._root: Atomic | None = None
        self._commit: Any = None

    def install(self) -> None:
        # First, not last: `connection.execute_wrapper()` takes away the last one at its end.
        self.connection.execute_wrappers.insert(0, self._execute)
        self._commit = self.connection.commit
        self.connection.commit = self._judge_and_commit
        self.connection._warmer_watch = self
        _judge_at_exit()

    def remove(self) -> None:
        self.connection.execute_wrappers.remove(self._execute)
        del self.connection.commit
        del self.connection._warmer_watch

    def clear(self) -> None:
        self._open.clear()
        self._inside.clear()

    def match(self, match: _Match) -> None:
        """Take in something that was recorded."""
        self._take(match, (match.concern, match.spec, match.by_hand))
        if match.root is None:  # it stands, and counts for what was written before
            for write in self._writes():
                write.concerns = write.left([match])
            self.unmatched()

    def unmatched(self) -> list[_Unmatched]:
        """Return what was written in transactions that are over, and that nothing matches so far."""
        matches = [event for event in self._events() if isinstance(event, _Match)]
        unmatched = []
        for write in self._writes():
            left = write.left(matches)
            write.settled = not left
            if left:
                unmatched.append(_Unmatched(write=write, concerns=left))
        self._open = [write for write in self._open if not write.settled]
        return unmatched

    def _events(self) -> list[_Event]:
        return [event for ref in self._inside.values() if (event := ref()) is not None]

    def _writes(self) -> list[_Write]:
        """Return the writes of transactions that are over."""
        inside = [event for event in self._events() if isinstance(event, _Write)]
        writes = dict.fromkeys([*self._open, *inside])
        return [write for write in writes if not write.settled and write.is_over(self.connection)]

    def judge(self, unmatched: Iterable[_Unmatched], *, before_commit: bool = False) -> None:
        """Do what the settings say about writes that nothing matches."""
        found = []
        for each in unmatched:
            each.write.settled = True
            found.append(each.bypass())
        self._open = [write for write in self._open if not write.settled]
        if found:
            _ACTIONS[mode()](found, self.connection, before_commit)

    def _execute(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        text = sql if isinstance(sql, str) else _text(sql, self.connection)
        if text.startswith("SELECT"):
            return execute(sql, params, many, context)
        if text.startswith("RELEASE") and self._is_in_test_case():
            self._judge_the_end()
        statement = parse(text)
        if statement is None:
            return execute(sql, params, many, context)
        if self._open or self._inside:
            self.judge(each for each in self.unmatched() if each.write.is_late())
        result = execute(sql, params, many, context)
        if not _changed_nothing(context["cursor"]):
            for table in statement.tables:
                self._note(table, statement.verb)
        return result

    def _note(self, table: str, verb: str) -> None:
        concerns = _concerns_by_key().get(table)
        if not concerns:
            return
        where = origin(table)
        if where.exempt:
            return
        write = _Write(
            table=table, verb=verb, origin=where, concerns=concerns, at=time.monotonic(), survived=self._keep
        )
        self._take(write, (table, verb, where.told or (where.path, where.line)))
        if not self.connection.in_atomic_block:
            self._open.append(write)

    def _take(self, event: _Event, what: Any) -> None:
        """Have what happens inside a transaction kept as long as Django keeps its callbacks."""
        if not self.connection.in_atomic_block:
            return
        blocks = self.connection.atomic_blocks
        event.root = next((block for block in blocks if not block._from_testcase), None)
        if event.root is None:
            what = event.number  # a test case's transaction has no end: the order counts, as outside of one
        elif event.root is not self._root:
            self._root = event.root
            self._inside = {key: ref for key, ref in self._inside.items() if ref() is not None}
        key = (event.root, tuple(self.connection.savepoint_ids), what)
        known = self._inside.get(key)
        if known is None or known() is None:
            self._inside[key] = weakref.ref(event)
            self.connection.on_commit(event, robust=True)

    def _is_in_test_case(self) -> bool:
        """Say whether the transaction of a test case alone is open: what was inside it ends."""
        blocks = self.connection.atomic_blocks
        return bool(blocks) and all(block._from_testcase for block in blocks)

    def _keep(self, event: _Event) -> None:
        """Go on with a write that was committed and not judged: its match may come yet."""
        if isinstance(event, _Write) and not event.settled and event not in self._open:
            self._open.append(event)

    def _judge_and_commit(self) -> None:
        try:
            self._judge_the_end()
        except Exception:
            self.connection.rollback()
            raise
        self._commit()

    def _judge_the_end(self) -> None:
        """Judge a transaction that ends now, unless Django opened it: its caller may invalidate yet."""
        if not self._inside:
            return
        unmatched = self.unmatched()
        ending = ending_block()
        if ending is not None and not ending.by_django:
            self.judge((each for each in unmatched if each.write.root is ending.block), before_commit=True)


@dataclass(frozen=True, kw_only=True)
class _Unmatched:
    """A write, and the concerns that nothing matches."""

    write: _Write
    concerns: Sequence[Concern]

    def bypass(self) -> Bypass:
        specs = dict.fromkeys(concern.spec for concern in self.concerns)
        write = self.write
        return Bypass(table=write.table, verb=write.verb, origin=write.origin, jobs=tuple(specs))


def _warn(found: Sequence[Bypass], _connection: Any, _before_commit: bool) -> None:
    for bypass in found:
        logger.warning("%s", bypass)
    for bypass in found:
        where = bypass.origin
        warnings.warn_explicit(BypassWarning(str(bypass)), None, where.path, where.line, registry=_warned)


def _raise(found: Sequence[Bypass], _connection: Any, _before_commit: bool) -> None:
    raise BypassError("\n".join(map(str, found)))


def _invalidate(found: Sequence[Bypass], connection: Any, before_commit: bool) -> None:
    specs = {spec for bypass in found for spec in bypass.jobs}
    committed = Committed(ids=dict.fromkeys(specs, EVERY_KEY), using=connection.alias)
    for bypass in found:
        logger.warning("%s All of their keys are invalidated.", bypass)
    if before_commit:
        after = (set(connection.savepoint_ids), lambda: invalidation.apply(committed), True)
        connection.run_on_commit.append(after)
    else:
        invalidation.apply(committed)


_ACTIONS: dict[Mode, Callable[[Sequence[Bypass], Any, bool], None]] = {
    "off": lambda _found, _connection, _before_commit: None,
    "warn": _warn,
    "raise": _raise,
    "invalidate": _invalidate,
}

# Python's memory of which places were warned about already.
_warned: dict[Any, Any] = {}


@cache
def _judge_at_exit() -> None:
    atexit.register(_at_exit)


def _at_exit() -> None:
    """Judge what is left; nobody could catch an error any more."""
    for watch in _watches_of_thread():
        found = [each.bypass() for each in watch.unmatched()]
        if found:
            (_invalidate if mode() == "invalidate" else _warn)(found, watch.connection, False)


def _watch_of(connection: Any) -> _Watch | None:
    watch: _Watch | None = getattr(connection, "_warmer_watch", None)
    return watch


def _watches_of_thread() -> Iterator[_Watch]:
    for connection in connections.all(initialized_only=True):
        watch = _watch_of(connection)
        if watch is not None:
            yield watch


_by_key: tuple[Mapping[str, tuple[Concern, ...]], dict[str, tuple[Concern, ...]]] = ({}, {})


def _concerns_by_key() -> dict[str, tuple[Concern, ...]]:
    """Return the concerns by their tables, as statements name these; our own tables are left out."""
    global _by_key
    tables = jobs.tables()
    if _by_key[0] is not tables:
        keys = {
            table_key(name): tuple(each for each in concerns if not each.dependency.label.startswith(OWN))
            for name, concerns in tables.items()
        }
        _by_key = (tables, keys)
    return _by_key[1]


def _text(sql: Any, connection: Any) -> str:
    """Return a statement that psycopg composes."""
    return str(sql.as_string(connection.connection)) if hasattr(sql, "as_string") else ""


def _changed_nothing(cursor: Any) -> bool:
    # With RETURNING the count is known only when the rows were fetched.
    return bool(cursor.rowcount == 0 and cursor.description is None)
