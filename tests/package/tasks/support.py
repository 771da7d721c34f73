"""A broker that takes no message."""

from typing import Any

from kombu.exceptions import OperationalError as BrokerError


def away(*_args: Any, error: Exception = BrokerError("away"), **_options: Any) -> None:  # noqa: B008
    """Raise what Celery does when the broker takes no message."""
    raise error
