"""A filter for the project's log."""

from __future__ import annotations

from logging import Filter, LogRecord


class WithoutOutages(Filter):
    """Drop ignored errors of an unresponsive cache: the circuit breaker logs each outage once."""

    def filter(self, record: LogRecord) -> bool:
        """Return whether the record is about anything else, such as a write that a full server rejected."""
        # Imported here, so that the settings load even if these libraries are missing; the doctor then
        # reports what to install.
        from django_redis.exceptions import ConnectionInterrupted

        from warmer.stores.redis.connections import is_outage

        error = record.exc_info[1] if record.exc_info else None
        cause = error.__cause__ if isinstance(error, ConnectionInterrupted) else None
        return cause is None or not is_outage(cause)
