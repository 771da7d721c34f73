"""Settings: `conf.X` is the project's `WARMER_X`, or the default below."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, get_type_hints

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from warmer.exceptions import did_you_mean


class Settings:
    """Defaults as typed class attributes, read live so that `override_settings` works."""

    CACHE: str = "default"
    """The default cache of a job: an alias in `CACHES`."""

    QUEUE: str = "warming"
    """The default Celery queue of a job."""

    BATCH_SIZE: int = 500
    """The default number of ids in a batch."""

    BATCHES_OUT: int = 32
    """How many batches of a run may be on the workers at a time. Set it above the number of workers."""

    MAX_BATCHES_PER_SECOND: float = 0.0
    """The limit for all jobs across all workers; 0: no limit. A job can set a lower limit with its option
    `max_batches_per_second`."""

    FENCE_RECORDS: int = 10_000
    """How many invalidated keys a job's fence remembers. A write whose token is older is rejected."""

    MAX_VALUE_BYTES: int = 32 * 1024 * 1024
    """The longest value of a job, encoded but not compressed, on a cache with the compressor of
    `warmer.serializers`. Writing a longer value fails its key; reading one is a miss, without decompressing
    it."""

    REPLICA_LAG: timedelta = timedelta(0)
    """The maximum replication lag of the database that loaders read from. For this time after an
    invalidation, reads of the key bypass the cache and nothing fills it."""

    READ_WAIT: timedelta = timedelta(seconds=10)
    """How long a read waits for a value that another reader is loading. After that it loads the value itself
    and does not store it. Set it longer than the slowest loader takes for a batch."""

    READ_CLAIM: timedelta = timedelta(seconds=5)
    """How long other readers wait for a reader that was killed while it loaded a value; then one of them
    takes over. A loader that takes longer than this runs twice."""

    RUN_EXPIRY: timedelta = timedelta(hours=1)
    """How long a queued run may wait for a worker. A scheduled run waits until the next one is due."""

    STALL_TIMEOUT: timedelta = timedelta(minutes=10)
    """A run without progress for this long has lost its worker. Set it longer than the broker takes to
    redeliver the message of a killed worker."""

    RUN_RETENTION: timedelta = timedelta(days=30)
    """How long finished runs are kept. The newest run of each job is always kept."""

    CAPTURE: str = ""
    """How changes are captured: by Django's "signals", or by "triggers" in the database (PostgreSQL,
    SQLite), which also see `update()`, bulk operations, raw SQL and other programs. Empty: signals, with
    a system check that says what they miss."""

    REPLAY: timedelta = timedelta(seconds=60)
    """How long an applied change stays in the database. During this time, a worker with other jobs or caches
    than the process that applied it (such as another release) applies it again."""

    AUDIT_SAMPLE: int = 0
    """How many keys of each job the scheduled audit compares with the database. 0: no scheduled audit."""

    AUDIT_EVERY: timedelta = timedelta(hours=1)
    """The interval of the scheduled audit, until an operator changes its entry in the schedule."""

    COUNT_READS: bool = True
    """Whether to count the hits and misses of each job. Read when a process starts."""

    METRICS: bool = False
    """Whether to serve `/metrics`; needs the extra `warmer[metrics]`."""

    METRICS_TOKEN: str = ""
    """The token that a scrape must send as `Authorization: Bearer`. Empty: no token is required."""

    READY_REQUIRES_WARM: bool = False
    """Whether `/readyz` fails until every required job has a complete run (other than those after a change)
    since `WARMER_READY_WARM_SINCE`."""

    READY_WARM_SINCE: str = ""
    """The earliest run that counts for `/readyz`, such as the time of the deploy: ISO 8601 with an offset.
    Empty: one timeout of the job before the process started."""

    SERVER_TIMING: bool = False
    """Whether the middleware adds a `Server-Timing` header with the cache calls to every response. Off: only
    to pages that load a user who is staff."""

    LOG_CACHE_TIME: timedelta = timedelta(milliseconds=100)
    """The middleware logs requests that spend longer than this in the caches. 0: off."""

    LOG_CACHE_CALLS: int = 100
    """The middleware logs requests that make more cache calls than this. 0: off."""

    def __getattribute__(self, name: str) -> Any:
        default = super().__getattribute__(name)
        if not name.isupper():
            return default
        value = getattr(settings, f"WARMER_{name}", default)
        if isinstance(default, timedelta) and type(value) in (int, float):
            return timedelta(seconds=value)
        return value


conf = Settings()

# A worker waits for its turn within the task's time limit, so turns may be at most 10 seconds apart.
SLOWEST_PACE = 0.1
# The minimum of other numbers and durations is 0.
_LEAST: dict[str, float] = {
    **dict.fromkeys(("BATCH_SIZE", "BATCHES_OUT", "FENCE_RECORDS"), 1),
    **dict.fromkeys(("RUN_EXPIRY", "STALL_TIMEOUT", "AUDIT_EVERY"), 1),
    "READ_CLAIM": 0.001,
    "MAX_VALUE_BYTES": 1024,
}
_TYPES = {
    bool: "True or False",
    str: "a string",
    int: "an integer",
    timedelta: "a timedelta or a number of seconds",
}


def check_settings() -> None:
    """Reject settings that cannot work.

    Raises:
        ImproperlyConfigured: names each setting, its value and what is expected.
    """
    names = get_type_hints(Settings)
    wrong = [
        f"WARMER_{name} = {'***' if 'TOKEN' in name else repr(getattr(conf, name))}: expected {expected}"
        for name, kind in names.items()
        if (expected := _expected(name, kind, getattr(conf, name)))
    ]
    for given in dir(settings):
        if given.startswith("WARMER_") and given.removeprefix("WARMER_") not in names:
            hint = did_you_mean(given, [f"WARMER_{name}" for name in names]) or "the guide lists them"
            wrong.append(f"{given}: unknown setting; {hint}")
    if wrong:
        raise ImproperlyConfigured("Wrong settings of warmer: " + "; ".join(wrong))


def as_django(moment: datetime) -> datetime:
    """Return a time as Django represents it: with `USE_TZ` off, naive and in `TIME_ZONE`."""
    return moment if settings.USE_TZ else timezone.make_naive(moment, timezone.get_default_timezone())


def moment_of(text: str) -> datetime:
    """Parse an ISO 8601 time with an offset.

    Raises:
        ValueError: it is not a time, or has no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset")
    return as_django(moment)


def _expected(name: str, kind: type, value: Any) -> str:
    """Return what a setting should be; an empty string if it is valid."""
    if name in _OWN_RULES:
        is_right, expected = _OWN_RULES[name]
        return "" if is_right(value) else expected.format(caches=", ".join(map(repr, settings.CACHES)))
    if kind is bool:
        return "" if value in (True, False) else _TYPES[bool]  # 1 and 0 are common
    if kind is str:
        return "" if value is None or isinstance(value, str) else _TYPES[str]
    least = _LEAST.get(name, 0)
    number = value.total_seconds() if isinstance(value, timedelta) else value
    right = type(value) is kind and number >= least
    return "" if right else f"{_TYPES[kind]}, at least {least:g}"


def _is_moment(text: object) -> bool:
    try:
        _ = moment_of(str(text)) if text else None
    except ValueError:
        return False
    return True


def _is_pace(value: Any) -> bool:
    return type(value) in (int, float) and (value == 0 or value >= SLOWEST_PACE)


_OWN_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "CACHE": (lambda alias: alias in list(settings.CACHES), "a name in CACHES: {caches}"),
    "QUEUE": (lambda name: isinstance(name, str) and name != "", "the name of a Celery queue"),
    "CAPTURE": (lambda value: value in ("", None, "signals", "triggers"), "'signals' or 'triggers'"),
    "READY_WARM_SINCE": (_is_moment, "an ISO 8601 time with its offset, e.g. '2026-11-30T12:00:00+00:00'"),
    "MAX_BATCHES_PER_SECOND": (_is_pace, f"a number of at least {SLOWEST_PACE}, or 0 for no limit"),
}
