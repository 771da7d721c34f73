"""The health strip of the overview: workers, beat, queues, caches, databases, and the alerts that would fire.

Each item with a problem describes it in a sentence and links to its section of the runbook. Servers that may
hang are queried in threads, except for the database, which every page needs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from typing import Any

from django.db import router
from django.utils import timezone

from warmer import invalidation, tasks
from warmer.admin import base
from warmer.admin.questions import Answer, ask
from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.doctor.checks.celery import LONG_QUEUE
from warmer.doctor.checks.jobs import LATE
from warmer.exceptions import CommandRefused
from warmer.humanize import ago, counted, duration, percent, size
from warmer.invalidation import Backlog, triggers
from warmer.invalidation.records import written
from warmer.models import BEAT_SILENCE, WarmingRun
from warmer.monitoring.alerts import Alert, firing
from warmer.monitoring.snapshot import Snapshot, snapshot
from warmer.stores import open_servers
from warmer.tasks.broker import connected

# A busy worker may answer too late for one page; the next one shows it.
PING_SECONDS, LATE_SECONDS = 1.0, 15.0
# Workers observe the jobs every minute, so one that observed recently works even if it did not answer.
LATELY = timedelta(seconds=90)
# How long a run may wait for a worker.
STANDSTILL = timedelta(minutes=2)

RUNS, BROKER = "runs-are-stuck-expired-or-lost", "the-broker-is-down"
DOWN, HANGS = "cache-down-connection-refused", "cache-hangs-connected-but-no-response"
REPLICA = "the-cache-is-a-read-only-replica"
FULL, UNSAVED = "cache-full-every-write-fails", "the-cache-rejects-writes-it-cannot-save-to-disk"
PENDING, DATABASE = "invalidations-are-pending", "a-database-does-not-answer"
UNKNOWN = "unknown"
SAVES = ("rdb_last_bgsave_status", "aof_last_write_status")


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item of the strip: its status in a few words, with figures, and what is wrong in a sentence."""

    label: str
    value: str
    detail: str = ""
    problem: str = ""
    section: str = ""  # of the runbook, for the problem
    is_warning: bool = False  # the problem may resolve itself

    @property
    def level(self) -> str:
        """`ok`, `unknown`, `warning` or `problem`."""
        if self.problem:
            return "warning" if self.is_warning else "problem"
        return UNKNOWN if self.value == UNKNOWN else "ok"


Database = tuple[Backlog, list[triggers.Problem]]
Caches = Mapping[str, Callable[[], Answer[list[Mapping[str, Any]]]]]
"""The alias of each cache -> a function that waits for its answer."""


def look_at_databases() -> Database:
    """Return the pending invalidations on all databases, and the problems with the other databases' triggers.

    The others are queried in threads; our own database, which every page needs, is not.
    """
    own = router.db_for_write(WarmingRun)
    others = [alias for alias in written() if alias != own]
    asked = {alias: ask(f"database {alias}", partial(_look_at_database, alias)) for alias in others}
    found, problems = invalidation.backlog(own), list[triggers.Problem]()
    for alias, answer in asked.items():
        answered = answer()
        backlog, some = answered.value or (Backlog(unanswered={alias: answered.problem}), [])
        found, problems = found + backlog, [*problems, *some]
    return found, problems


def look_at_beat() -> Item | None:
    """Return when beat last sent anything; if it is silent, nothing starts the runs that are due.

    None if there is no broker: tasks run in process, and none on schedule.
    """
    if not tasks.has_broker():
        return None
    seen_at = base.schedule.beat_seen_at() if base.schedule else None
    value = f"seen {ago(seen_at)}" if seen_at else "never seen" if base.schedule else "not installed"
    is_alive = seen_at is not None and timezone.now() - seen_at <= BEAT_SILENCE
    problem = "" if is_alive else "Nothing is refreshed on schedule."
    return Item(label="Beat", value=value, problem=problem, section=RUNS)


def ask_caches(specs: Iterable[JobSpec]) -> Caches:
    """Start to query the caches of jobs."""
    aliases = dict.fromkeys(spec.cache for spec in specs)
    return {alias: ask(f"cache {alias}", partial(_look_at_cache, alias)) for alias in aliases}


def unanswered(caches: Caches) -> frozenset[str]:
    """Return the aliases of the caches that do not answer."""
    return frozenset(alias for alias, answer in caches.items() if answer().problem)


class Health:
    """The state of all servers. Queries start immediately, and run while the page makes its own."""

    def __init__(self) -> None:
        self._has_broker = tasks.has_broker()
        if self._has_broker:
            self._broker = ask("broker", _look_at_broker)
            self._workers = _ask_workers()
        self.caches = ask_caches(jobs.specs())
        self.backlog, elsewhere = look_at_databases()
        self.uncaptured = [*_problems(router.db_for_write(WarmingRun)), *elsewhere]
        self.beat = look_at_beat()

    @cached_property
    def items(self) -> list[Item]:
        beat = [self.beat] if self.beat and any(spec.every for spec in jobs.specs()) else []
        caches = (_cache_item(alias, answer()) for alias, answer in self.caches.items())
        return [*self._queue_items(), *beat, *caches, *self._pending_items()]

    @cached_property
    def alerts(self) -> dict[Alert, list[str]]:
        found = firing(self._snapshot)
        return {alert: names for alert, names in found.items() if self._has_broker or not alert.needs_broker}

    @cached_property
    def _snapshot(self) -> Snapshot:
        return snapshot(down=unanswered(self.caches), backlog=self.backlog)

    def _queue_items(self) -> Iterator[Item]:
        if not self._has_broker:
            return
        broker, now = self._broker(), self._snapshot
        if broker.problem:
            yield Item(
                label="Broker",
                value=f"down for {duration(broker.failing_seconds, rough=True)}",
                problem=f"The broker does not answer ({broker.problem}): no run starts.",
                section=BROKER,
            )
        # Jobs are observed by the workers of one queue.
        observes = now.last_attempt is not None and now.taken_at - now.last_attempt <= LATELY
        for queue in tasks.queue_names(now.specs):
            # Brokers do not report the age of a message, but each run has a row.
            waits = max((now.queue_wait(spec.name) for spec in now.specs if spec.queue == queue), default=0.0)
            oldest = f"oldest queued run {duration(waits, rough=True)}" if waits else ""
            if broker.value is None:
                yield Item(label=f"Queue {queue}", value=UNKNOWN, detail=oldest)
                continue
            messages, workers = broker.value.get(queue), self._workers().value
            waiting = "" if messages is None else counted(messages, "message")
            number = None if workers is None else len(workers.get(queue, ()))
            problem, is_warning = "", False
            is_stuck = waits > STANDSTILL.total_seconds()
            if number == 0:
                problem = "No worker answers, so runs wait."
                is_warning = observes and queue == conf.QUEUE and not is_stuck
            elif is_stuck:
                problem = "The workers are not taking waiting runs."
            elif messages is not None and messages >= LONG_QUEUE:
                problem, is_warning = "Messages pile up, so runs start late.", True
            yield Item(
                label=f"Queue {queue}",
                value=UNKNOWN if number is None else counted(number, "worker"),
                detail=", ".join(filter(None, [waiting, oldest])),
                problem=problem,
                section=RUNS,
                is_warning=is_warning,
            )

    def _pending_items(self) -> Iterator[Item]:
        backlog = self.backlog
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
            problem = f"Pending changes there are unknown: {why.rstrip('.')}."
            yield Item(label=f"Database {alias}", value="down", problem=problem, section=DATABASE)


def _look_at_broker() -> dict[str, int]:
    """Return the number of messages in each queue, if the broker reports it."""
    with connected():  # raises if it does not answer
        return tasks.queue_lengths(tasks.queue_names(jobs.specs()))


def _look_for_workers() -> dict[str, list[str]]:
    return tasks.consumers(timeout=PING_SECONDS)


def _ask_workers() -> Callable[[], Answer[dict[str, list[str]]]]:
    return ask("workers", _look_for_workers, late=LATE_SECONDS)


def lacks_workers(queue: str) -> bool:
    """Return whether no worker of a queue answers; False while it is unknown, and without a broker."""
    found = _ask_workers()().value if tasks.has_broker() else None
    return found is not None and not found.get(queue)


def _look_at_cache(alias: str) -> list[Mapping[str, Any]]:
    """Return INFO of each server of a cache that answers; none if it has none, or INFO is not allowed."""
    infos: list[Mapping[str, Any]] = []
    for server in open_servers(alias):
        with suppress(CommandRefused), closing(server):  # rejected by a managed server
            infos.append(server.info)
    if not infos:
        next(spec for spec in jobs.specs() if spec.cache == alias).store.ping()
    return infos


def _look_at_database(alias: str) -> Database:
    return invalidation.backlog(alias), _problems(alias)


def _problems(alias: str) -> list[triggers.Problem]:
    return triggers.problems(alias) if invalidation.captures_by_triggers() else []


def _cache_item(alias: str, answer: Answer[list[Mapping[str, Any]]]) -> Item:
    item, infos = partial(Item, label=f"Cache {alias}"), answer.value
    if infos is None:
        value = f"down for {duration(answer.failing_seconds, rough=True)}"
        problem = f"The cache does not answer ({answer.problem}), so reads go to the database."
        # redis-py's error has the same name
        section = HANGS if answer.problem == TimeoutError.__name__ else DOWN
        return item(value=value, problem=problem, section=section)
    if not infos:
        return item(value="up")
    used, limit, evicted = (
        sum(info[name] for info in infos) for name in ("used_memory", "maxmemory", "evicted_keys")
    )
    memory = f"{percent(used / limit)} of {size(limit)}" if limit else f"{size(used)}, no limit"
    item = partial(item, detail=f"{memory}, {evicted:,} evicted")
    if any(map(_is_full, infos)):
        return item(value="full", problem="The cache refuses every write.", section=FULL)
    if any(info.get("role") == "slave" for info in infos):
        problem = "It is a read-only replica: nothing is warmed or invalidated."
        return item(value="read-only", problem=problem, section=REPLICA)
    if any(info.get(name, "ok") != "ok" for info in infos for name in SAVES):
        return item(value="up", problem="It cannot save to disk, so it may refuse writes.", section=UNSAVED)
    return item(value="up")


def _is_full(info: Mapping[str, Any]) -> bool:
    limit = int(info["maxmemory"])
    return info["maxmemory_policy"] == "noeviction" and 0 < limit <= int(info["used_memory"])
