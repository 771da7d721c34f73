"""What the project leaves out of its log."""

from __future__ import annotations

from logging import Filter, LogRecord

from django_redis.exceptions import ConnectionInterrupted

from warmer.stores.redis.connections import is_outage


class WithoutOutages(Filter):
    """Drops ignored errors of a cache that does not answer: the circuit breaker logs each outage once."""

    def filter(self, record: LogRecord) -> bool:
        """Return whether the record is about anything else, such as a write that a full server refused."""
        error = record.exc_info[1] if record.exc_info else None
        cause = error.__cause__ if isinstance(error, ConnectionInterrupted) else None
        return cause is None or not is_outage(cause)
