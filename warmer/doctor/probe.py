"""Try a cache as a job uses it."""

from __future__ import annotations

import secrets
import time
from time import perf_counter

from warmer.conf import conf
from warmer.exceptions import StoreUnavailable
from warmer.keys import KeyTemplate
from warmer.report import Outcome
from warmer.stores import open_store

KEY_SECONDS = 30.0
# A server that has to make room evicts the key of the probe like any other, until it is done.
TRIES = 5
PAUSE_SECONDS = 0.1


def probe(alias: str) -> float:
    """Write a key of our own under a fence, read it back and delete both.

    Returns:
        The seconds that it took.

    Raises:
        StoreUnavailable: the cache does not answer, refuses the key, or does not keep it.
    """
    name = f"warmer-probe-{secrets.token_hex(4)}"
    store = open_store(
        alias=alias, fence=name, template=KeyTemplate.parse(name, keyed=False), timeout=KEY_SECONDS
    )
    value = secrets.token_hex(8)
    for _ in range(TRIES):
        started = perf_counter()
        try:
            written = store.write(store.token(), {name: value})
            found = store.read([name]).get(name)
            store.invalidate([name])
        finally:
            store.forget()
        if written.errors:
            raise StoreUnavailable(f"The cache {alias!r} refuses a key: {written.errors[name]}")
        # While a replica may lag, a new fence refuses every write: then the answer alone has to do.
        if found == value or (conf.REPLICA_LAG and written.outcomes[name] == Outcome.SUPERSEDED):
            return perf_counter() - started
        time.sleep(PAUSE_SECONDS)
    raise StoreUnavailable(
        f"The cache {alias!r} does not keep what is written: reading it back finds nothing"
    )
