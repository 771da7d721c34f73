"""The health strip of the overview: workers, beat, queues, caches, databases, and the alerts that would fire.

Each item that stands still says so in a sentence and leads to its section of the runbook. What may hang is
asked in threads, except for the database that every page needs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from time import monotonic
from typing import Any

from django.db import router
from django.utils import timezone

from warmer import invalidation, tasks
from warmer.admin import base, questions
from warmer.admin.questions import PATIENCE_SECONDS, Answer
from warmer.declarations.registry import jobs
from warmer.doctor.checks.celery import LONG_QUEUE
from warmer.doctor.checks.jobs import LATE
from warmer.exceptions import CommandRefused
from warmer.humanize import ago, counted, duration, percent, size
from warmer.invalidation import Backlog, triggers
from warmer.invalidation.records import written
from warmer.models import BEAT_SILENCE, WarmingRun
from warmer.monitoring import alerts
from warmer.monitoring.metrics.snapshot import Snapshot, snapshot
from warmer.stores import open_servers
from warmer.stores.breaker import breaker_of

# A worker answers in milliseconds. The page waits a little longer than that.
PING_SECONDS = 0.4
# Workers observe the jobs every minute: so one that did not answer works all the same.
LATELY = timedelta(seconds=90)
STANDSTILL = timedelta(minutes=2)

RUNS, BROKER, DOWN = "runs-are-stuck-expired-or-lost", "the-broker-is-down", "cache-down-connection-refused"
FULL, UNSAVED = "cache-full-every-write-fails", "the-cache-rejects-writes-it-cannot-save-to-disk"
PENDING, DATABASE = "invalidations-are-pending", "a-database-does-not-answer"
SECTIONS = (RUNS, BROKER, DOWN, FULL, UNSAVED, PENDING, DATABASE)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing that must run.

    Attributes:
        value: how it is, in a few words.
        detail: figures about it.
        problem: what is wrong, in a sentence; empty if nothing is.
        section: the section of the runbook for the problem.
        is_warning: whether the problem may pass by itself.
    """

    label: str
    value: str
    detail: str = ""
    problem: str = ""
    section: str = ""
    is_warning: bool = False

    @property
    def level(self) -> str:
        """`ok`, `warning` or `problem`."""
        return ("warning" if self.is_warning else "problem") if self.problem else "ok"


Database = tuple[Backlog, list[triggers.Problem]]


@dataclass(frozen=True, kw_only=True)
class Queues:
    """What the broker and the workers tell.

    Attributes:
        workers: queue -> the names of its workers.
        messages: queue -> how many wait, where the broker tells.
    """

    workers: Mapping[str, list[str]]
    messages: Mapping[str, int]


class Health:
    """The state of all servers. Asking begins at once, and goes on while the page makes its own queries."""

    def __init__(self) -> None:
        self._deadline = monotonic() + PATIENCE_SECONDS
        self._queues = questions.ask("queues", _look_at_queues) if tasks.has_broker() else None
        aliases = dict.fromkeys(spec.cache for spec in jobs.specs())
        self._caches = {
            each: questions.ask(f"cache {each}", partial(_look_at_cache, each)) for each in aliases
        }
        own = router.db_for_write(WarmingRun)
        self._others = {
            each: questions.ask(f"database {each}", partial(_look_at_database, each))
            for each in written()
            if each != own
        }
        self._own = _look_at_database(own)

    @cached_property
    def backlog(self) -> Backlog:
        """The invalidations that wait on all databases."""
        found = [backlog for backlog, _ in self._databases]
        silent = {alias: answer.problem for alias, answer in self._answers.items() if answer.problem}
        return Backlog(
            count=sum(each.count for each in found),
            age=max(each.age for each in found),
            by_job=sum((each.by_job for each in found), Counter()),
            answered=[alias for each in found for alias in each.answered],
            unanswered=silent | {alias: why for each in found for alias, why in each.unanswered.items()},
        )

    @property
    def uncaptured(self) -> list[triggers.Problem]:
        """What is wrong with the triggers."""
        return [problem for _, problems in self._databases for problem in problems]

    @cached_property
    def items(self) -> list[Item]:
        """Everything that must run."""
        found = [*self._queue_items(), *self._beat_items()] if self._queues else []
        found += [_cache_item(alias, answer) for alias, answer in self._cache_answers.items()]
        return [*found, *_pending_items(self.backlog)]

    @property
    def alerts(self) -> list[alerts.Firing]:
        """The alerts that would fire. Without a broker, as in development, nothing is scheduled: none."""
        return alerts.firing(self._snapshot) if self._queues else []

    @cached_property
    def _answers(self) -> dict[str, Answer[Database]]:
        return {alias: question.answer(self._deadline) for alias, question in self._others.items()}

    @property
    def _databases(self) -> list[Database]:
        return [self._own, *(each.value for each in self._answers.values() if each.value)]

    @cached_property
    def _cache_answers(self) -> dict[str, Answer[list[Mapping[str, Any]]]]:
        return {alias: question.answer(self._deadline) for alias, question in self._caches.items()}

    @cached_property
    def _snapshot(self) -> Snapshot:
        down = [alias for alias, answer in self._cache_answers.items() if answer.problem]
        return snapshot(down=down, backlog=self.backlog)

    def _queue_items(self) -> Iterator[Item]:
        assert self._queues is not None
        answer = self._queues.answer(self._deadline)
        if answer.problem:
            yield Item(
                label="Broker",
                value=_down_for(answer.failing_seconds),
                problem=f"The broker does not answer ({answer.problem}): no run starts.",
                section=BROKER,
            )
        now = self._snapshot
        for queue in tasks.queue_names(now.specs):
            # No broker tells the age of a message, but each run has a row.
            waits = max((now.queue_wait(spec.name) for spec in now.specs if spec.queue == queue), default=0.0)
            yield _queue_item(queue, answer.value, waits, now.last_attempt)

    def _beat_items(self) -> Iterator[Item]:
        if not any(spec.every for spec in jobs.specs()):
            return
        seen = base.schedule.beat_seen_at() if base.schedule else None
        value = f"seen {ago(seen)}" if seen else "never seen"
        is_alive = seen is not None and timezone.now() - seen <= BEAT_SILENCE
        problem = "" if is_alive else "Nothing is refreshed on schedule."
        if base.schedule is None:
            value = "not installed"
        yield Item(label="Beat", value=value, problem=problem, section=RUNS)


def _look_at_queues() -> Queues:
    names = tasks.queue_names(jobs.specs())
    return Queues(workers=tasks.consumers(timeout=PING_SECONDS), messages=tasks.queue_lengths(names))


def _look_at_cache(alias: str) -> list[Mapping[str, Any]]:
    """Return INFO of each server of a cache that answers; none if it has none, or they may not be asked."""
    infos: list[Mapping[str, Any]] = []
    for server in open_servers(alias):
        with suppress(CommandRefused), closing(server):  # refused: a managed server
            infos.append(server.info)
    if not infos:
        next(spec for spec in jobs.specs() if spec.cache == alias).store.ping()
    return infos


def _look_at_database(alias: str) -> tuple[Backlog, list[triggers.Problem]]:
    return invalidation.backlog(alias), triggers.problems(
        alias
    ) if invalidation.captures_by_triggers() else []


def _queue_item(queue: str, found: Queues | None, waits: float, worked_at: datetime | None) -> Item:
    oldest = [f"oldest queued run {duration(waits, rough=True)}"] if waits else []
    item = partial(Item, label=f"Queue {queue}", section=RUNS)
    if found is None:
        return item(value="unknown", detail=", ".join(oldest))
    workers, messages = len(found.workers.get(queue, ())), found.messages.get(queue)
    detail = ", ".join([*([] if messages is None else [counted(messages, "message")]), *oldest])
    item = partial(item, value=counted(workers, "worker") if workers else "no worker", detail=detail)
    if not workers and worked_at and timezone.now() - worked_at <= LATELY:
        return item(problem=f"No worker answers; one worked {ago(worked_at)}.", is_warning=True)
    if not workers:
        return item(problem="No worker answers, so runs wait.")
    if waits > STANDSTILL.total_seconds():
        return item(problem="The workers do not take the runs that wait.")
    if messages is not None and messages >= LONG_QUEUE:
        return item(problem="Messages pile up, so runs start late.", is_warning=True)
    return item()


def _cache_item(alias: str, answer: Answer[list[Mapping[str, Any]]]) -> Item:
    item, infos = partial(Item, label=f"Cache {alias}"), answer.value
    if infos is None:
        seconds = max(answer.failing_seconds, breaker_of(alias).open_seconds)
        problem = f"The cache does not answer ({answer.problem}), so the database serves the reads."
        return item(value=_down_for(seconds), problem=problem, section=DOWN)
    if not infos:
        return item(value="up")
    used, limit, evicted = (
        sum(info[name] for info in infos) for name in ("used_memory", "maxmemory", "evicted_keys")
    )
    memory = f"{percent(used / limit)} of {size(limit)}" if limit else f"{size(used)}, no limit"
    item = partial(item, detail=f"{memory}, {evicted:,} evicted")
    if any(info.get("loading") for info in infos):
        problem = "The server reads its data from disk and answers nothing else yet."
        return item(value="loading", problem=problem, section=DOWN, is_warning=True)
    if any(map(_is_full, infos)):
        return item(value="full", problem="The cache refuses every write.", section=FULL)
    if any(info.get("rdb_last_bgsave_status", "ok") != "ok" for info in infos):
        return item(value="up", problem="It cannot save to disk, so it may refuse writes.", section=UNSAVED)
    return item(value="up")


def _is_full(info: Mapping[str, Any]) -> bool:
    limit = int(info["maxmemory"])
    return info["maxmemory_policy"] == "noeviction" and 0 < limit <= int(info["used_memory"])


def _pending_items(backlog: Backlog) -> Iterator[Item]:
    is_late = bool(backlog.count) and backlog.age >= LATE
    yield Item(
        label="Pending invalidations",
        value=f"{backlog.count:,}" if backlog.count else "none",
        detail=f"oldest {duration(backlog.age, rough=True)}" if backlog.count else "",
        problem="Readers may see old values until a worker applies them." if is_late else "",
        section=PENDING,
        is_warning=backlog.age < STANDSTILL,
    )
    for alias, why in backlog.unanswered.items():
        problem = f"What waits there is unknown: {why.rstrip('.')}."
        yield Item(label=f"Database {alias}", value="down", problem=problem, section=DATABASE)


def _down_for(seconds: float) -> str:
    return f"down for {duration(seconds, rough=True)}"
