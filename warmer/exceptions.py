"""Exceptions. Declaration errors are `ImproperlyConfigured`; all others derive from `WarmerError`."""

import difflib
import logging
from collections.abc import Iterable

from django.core.exceptions import ImproperlyConfigured


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint with the name that is most similar to an unknown one; empty if there is none."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {nearest[0]}?" if nearest else ""


class DeclarationError(ImproperlyConfigured):
    """A job is declared in a way that cannot work."""


class WarmerError(Exception):
    """Base class of everything that `warmer` raises at run time."""


class InvalidId(WarmerError, ValueError):
    """An id cannot be part of a cache key."""


class LoaderError(WarmerError):
    """A loader did not return what its job declares."""


class TriggersRefused(WarmerError):
    """The database rejected a trigger."""


class StoreUnavailable(WarmerError):
    """The cache does not answer."""

    is_logged = False
    """Whether the circuit breaker logs it, once for many calls."""


class NodeOfCluster(StoreUnavailable):
    """The cache's address is that of a single server, and a node of a Redis Cluster answers there."""

    advice = "is a node of a Redis Cluster: its LOCATION must begin with redis-cluster://"


class CircuitOpen(StoreUnavailable):
    """The cache did not answer a moment ago, so this call was not made."""

    is_logged = True

    def __init__(self, *args: object, cause: str = "") -> None:
        super().__init__(*args)
        self.cause = cause  # the class name of the error of the call that was made


def cause_of(error: BaseException) -> str:
    """Return the class name of what made a call fail, which contains no address."""
    return getattr(error, "cause", "") or type(error.__cause__ or error).__name__


def log_level(error: BaseException, otherwise: int) -> int:
    """Return the level at which to log an error: DEBUG if the circuit breaker logs it."""
    return logging.DEBUG if getattr(error, "is_logged", False) else otherwise


class CommandRefused(WarmerError):
    """The cache's server does not allow this user to run a command."""


class UnreadableValue(WarmerError, ValueError):
    """A cached value was written by another serializer, or is damaged."""


class UnsupportedValue(WarmerError, TypeError):
    """A value contains something that the cache would return as something else.

    Attributes:
        what: the offending part and its location, for display.
        kind: the type of the offending part.
    """

    def __init__(self, message: str, *, what: str = "", kind: str = "") -> None:
        super().__init__(message)
        self.what, self.kind = what, kind


class UnknownJob(WarmerError, KeyError):
    """No job of that name is declared."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        declared = f"the jobs are {', '.join(names)}" if names else "declare one in an app's warming.py"
        self.message = f"There is no job {name!r}: {did_you_mean(name, names) or declared}"
        super().__init__(name, names)

    def __str__(self) -> str:
        return self.message
