"""Tell apart why a Redis server cannot be used."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
)
from redis.sentinel import MasterNotFoundError

from warmer.report import describe
from warmer.stores.looks import Place, Reach, Reached

ANSWERS = Reached(how=Reach.ANSWERS)
# A probe only asks what the other side speaks: it answers at once, or it is not that.
PROBE_SECONDS = 1.0
PROBE = b"PING\r\n"
# How a Redis server that speaks plain text begins its answer to a PING, allowed or not.
PLAIN_ANSWERS = (b"+PONG", b"-NOAUTH", b"-DENIED", b"-LOADING", b"-NOPERM", b"-MASTERDOWN", b"-ERR")
TRIAL_MS = 10_000

# What the text of an answer tells, where its class does not.
_TEXTS = (
    ("called without any password", Reach.PASSWORD_UNWANTED),
    ("invalid username-password", Reach.PASSWORD_WRONG),
    ("invalid password", Reach.PASSWORD_WRONG),
    ("DB index", Reach.DATABASE),
    ("max number of clients", Reach.NO_CONNECTION_FREE),
    ("Too many connections", Reach.NO_CONNECTION_FREE),
    ("No connection available", Reach.NO_CONNECTION_FREE),
    ("DENIED", Reach.PROTECTED),
    ("MISCONF", Reach.NOT_SAVED),
)
_CLASSES: tuple[tuple[type[BaseException], Reach], ...] = (
    (MasterNotFoundError, Reach.NO_MASTER),
    (BusyLoadingError, Reach.LOADING),
    (NoPermissionError, Reach.NOT_ALLOWED),
    (ReadOnlyError, Reach.READ_ONLY),
    (OutOfMemoryError, Reach.FULL),
    (AuthenticationError, Reach.PASSWORD_MISSING),
    (ssl.SSLCertVerificationError, Reach.CERTIFICATE),
    (ssl.SSLError, Reach.TLS_FAILED),
    (socket.gaierror, Reach.UNKNOWN_HOST),
    (ConnectionRefusedError, Reach.REFUSED),
    (FileNotFoundError, Reach.NO_SOCKET),
    (InvalidResponse, Reach.NOT_REDIS),
)


def try_to_answer(server: Redis, place: Place) -> Reached:
    """Connect, log in, choose the database and ask for an answer."""
    try:
        server.ping()
    except NoPermissionError:
        return ANSWERS  # this user may not PING, but the server let it in
    except (RedisError, OSError, ValueError) as error:
        # A server that could not save refuses PING like a write.
        return ANSWERS if _by_text(error) == Reach.NOT_SAVED else explain(error, place)
    return ANSWERS


def try_to_write(server: Redis, place: Place, key: str) -> Reached:
    """Write a key of our own, read it back and remove it.

    What is read was set in the same transaction of the server, between whose commands nothing is evicted:
    a server that makes room may evict a key just set. The SET before it is for the server's own words, to
    which a pipeline adds.
    """
    try:
        server.set(key, "trial", px=TRIAL_MS)
        pipeline = server.pipeline()
        pipeline.set(key, "trial", px=TRIAL_MS)
        pipeline.get(key)
        pipeline.delete(key)
        _, found, _ = pipeline.execute()
    except (RedisError, OSError) as error:
        return explain(error, place)
    if found != b"trial":
        return Reached(how=Reach.OTHER, detail=f"a key that was just written reads as {found!r}")
    return ANSWERS


def explain(error: BaseException, place: Place) -> Reached:
    """Say what an error means.

    A TLS client and a server without TLS (or the reverse) give any error, often a timeout: so the
    server is asked again in the other way.
    """
    how = _by_text(error) or _by_class(error)
    if place.host and how in (Reach.OTHER, Reach.SILENT, Reach.CONNECT_TIMEOUT, Reach.TLS_FAILED):
        if place.tls and _speaks_plain(place):
            how = Reach.TLS_UNWANTED
        elif not place.tls and how != Reach.CONNECT_TIMEOUT and _speaks_tls(place):
            how = Reach.TLS_WANTED
    return Reached(how=how, detail=describe(error))


def _by_text(error: BaseException) -> Reach | None:
    text = str(error)
    return next((how for part, how in _TEXTS if part in text), None)


def _by_class(error: BaseException) -> Reach:
    for each in _chain(error):
        for kind, how in _CLASSES:
            if isinstance(each, kind):
                return how
    if isinstance(error, TimeoutError):
        return Reach.CONNECT_TIMEOUT if "connecting" in str(error) else Reach.SILENT
    if isinstance(error, ValueError):
        return Reach.SETTINGS
    if any("unreachable" in str(each) or "No route" in str(each) for each in _chain(error)):
        return Reach.UNREACHABLE
    return Reach.OTHER


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was made from."""
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or each.__context__


def _speaks_plain(place: Place) -> bool:
    try:
        with socket.create_connection((place.host, place.port), PROBE_SECONDS) as link:
            link.sendall(PROBE)
            return link.recv(64).startswith(PLAIN_ANSWERS)
    except OSError:
        return False


def _speaks_tls(place: Place) -> bool:
    context = ssl.create_default_context()
    # Nothing is sent through it: it only shows what the other side speaks.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((place.host, place.port), PROBE_SECONDS) as link,
            context.wrap_socket(link, server_hostname=place.host),
        ):
            return True
    except ssl.SSLError as error:
        # An alert is TLS too, e.g. of a server that wants a client's certificate.
        return "alert" in str(error).lower()
    except OSError:
        return False
