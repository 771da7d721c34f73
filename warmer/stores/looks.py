"""What a look at a cache's Redis server finds, as plain data; needs no Redis library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from warmer.exceptions import WarmerError


class CommandRefused(WarmerError):
    """A cache's server does not allow a command to this user."""


class Reach(StrEnum):
    """How a try to use a server ended."""

    ANSWERS = "answers"
    REFUSED = "refused"
    UNKNOWN_HOST = "unknown host"
    UNREACHABLE = "unreachable"
    NO_SOCKET = "no socket"
    CONNECT_TIMEOUT = "connect timeout"
    SILENT = "silent"
    PASSWORD_MISSING = "password missing"  # noqa: S105 - a name, no password
    PASSWORD_WRONG = "password wrong"  # noqa: S105
    PASSWORD_UNWANTED = "password unwanted"  # noqa: S105
    TLS_WANTED = "tls wanted"
    TLS_UNWANTED = "tls unwanted"
    CERTIFICATE = "certificate"
    TLS_FAILED = "tls failed"
    DATABASE = "database"
    PROTECTED = "protected"
    NO_CONNECTION_FREE = "no connection free"
    LOADING = "loading"
    NO_MASTER = "no master"
    NOT_REDIS = "not redis"
    SENTINEL = "sentinel"
    READ_ONLY = "read only"
    FULL = "full"
    NOT_SAVED = "not saved"
    NOT_ALLOWED = "not allowed"
    SETTINGS = "settings"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How a try ended, with the error in words (no password in it)."""

    how: Reach
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a server is, and how a client gets in.

    Attributes:
        text: the address for a person, without a login.
        path: of a unix socket.
        service: the master's name, when Sentinel is asked for the host.
        has_password: whether the settings give one.
        timeout: seconds that a client of these settings waits for an answer; None: without end.
        connect_timeout: the same for a connection.
    """

    text: str
    host: str = ""
    port: int = 0
    path: str = ""
    database: int = 0
    tls: bool = False
    service: str = ""
    username: str = ""
    has_password: bool = False
    timeout: float | None = None
    connect_timeout: float | None = None


@dataclass(frozen=True, kw_only=True)
class KeySeen:
    """One key of a sample.

    Attributes:
        seconds: how long it still lives; None: for ever.
        bytes: what it takes in memory; None: the server does not tell this user.
    """

    name: str
    seconds: float | None
    bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Some keys of a database.

    Attributes:
        total: how many keys the database holds.
    """

    keys: tuple[KeySeen, ...]
    total: int


@dataclass(frozen=True, kw_only=True)
class SlowCommand:
    """An entry of the slow log: the command with its key, never a value.

    Attributes:
        at: when, in the server's seconds since 1970.
        ms: how long it took.
    """

    text: str
    at: float
    ms: float


@dataclass(frozen=True, kw_only=True)
class SentinelSeen:
    """What one Sentinel says of the master.

    Attributes:
        problem: why it says nothing; empty when it does.
        master: the address that it gives out.
        down: it cannot reach the master (agreed: enough others say so too).
    """

    address: str
    problem: str = ""
    master: str = ""
    down: bool = False
    agreed_down: bool = False
    quorum: int = 0
    others: int = 0
    replicas: int = 0
