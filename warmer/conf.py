"""Settings: `conf.X` is the project's `WARMER_X`, or the default below."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from warmer.exceptions import did_you_mean


class Settings:
    """The defaults, read live so that `override_settings` works. The guide documents each setting."""

    # Of jobs whose declaration does not say otherwise.
    CACHE = "default"
    QUEUE = "warming"
    BATCH_SIZE = 500
    # Values in the cache.
    FENCE_RECORDS = 10_000
    MAX_VALUE_BYTES = 32 * 1024 * 1024
    REPLICA_LAG = timedelta(0)
    # Reads that miss.
    READ_WAIT = timedelta(seconds=10)
    READ_CLAIM = timedelta(seconds=5)
    # Runs.
    BATCHES_OUT = 32
    MAX_BATCHES_PER_SECOND = 0.0
    RUN_EXPIRY = timedelta(hours=1)
    STALL_TIMEOUT = timedelta(minutes=10)
    RUN_RETENTION = timedelta(days=30)
    # Changes.
    CAPTURE = ""
    REPLAY = timedelta(seconds=60)
    # Audits.
    AUDIT_SAMPLE = 0
    AUDIT_EVERY = timedelta(hours=1)
    # Metrics, health and the middleware.
    COUNT_READS = True
    METRICS = False
    METRICS_TOKEN = ""
    READY_REQUIRES_WARM = False
    READY_WARM_SINCE = ""
    SERVER_TIMING = False
    LOG_CACHE_TIME = timedelta(milliseconds=100)
    LOG_CACHE_CALLS = 100

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
_LEAST = {"READ_CLAIM": 0.001, "MAX_VALUE_BYTES": 1024} | dict.fromkeys(
    ("BATCH_SIZE", "BATCHES_OUT", "FENCE_RECORDS", "RUN_EXPIRY", "STALL_TIMEOUT", "AUDIT_EVERY"), 1
)


def check_settings() -> None:
    """Reject settings that cannot work.

    Raises:
        ImproperlyConfigured: names each setting, its value and what is expected.
    """
    kinds = {f"WARMER_{name}": type(value) for name, value in vars(Settings).items() if name.isupper()}
    wrong = []
    for given, kind in kinds.items():
        value = getattr(conf, given.removeprefix("WARMER_"))
        if expected := _expected(given.removeprefix("WARMER_"), kind, value):
            wrong.append(f"{given} = {'***' if 'TOKEN' in given else repr(value)}: expected {expected}")
    for given in dir(settings):
        if given.startswith("WARMER_") and given not in kinds:
            hint = did_you_mean(given, kinds) or "the guide lists them"
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
        return "" if value in (True, False) else "True or False"  # 1 and 0 are common
    if kind is str:
        return "" if isinstance(value, str | None) else "a string"
    least, number = _LEAST.get(name, 0), value.total_seconds() if isinstance(value, timedelta) else value
    expected = "an integer" if kind is int else "a timedelta or a number of seconds"
    return "" if type(value) is kind and number >= least else f"{expected}, at least {least:g}"


def _is_moment(text: object) -> bool:
    try:
        return not text or bool(moment_of(str(text)))
    except ValueError:
        return False


_OWN_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "CACHE": (lambda alias: alias in list(settings.CACHES), "a name in CACHES: {caches}"),
    "QUEUE": (lambda name: isinstance(name, str) and name != "", "the name of a Celery queue"),
    "CAPTURE": (lambda value: value in ("", None, "signals", "triggers"), "'signals' or 'triggers'"),
    "READY_WARM_SINCE": (_is_moment, "an ISO 8601 time with its offset, e.g. '2026-11-30T12:00:00+00:00'"),
    "MAX_BATCHES_PER_SECOND": (
        lambda value: type(value) in (int, float) and (value == 0 or value >= SLOWEST_PACE),
        f"a number of at least {SLOWEST_PACE}, or 0 for no limit",
    ),
}
