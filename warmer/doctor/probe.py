"""Try a cache as jobs use it."""

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
# A server that has to make room evicts the keys of the probe like any other, until it is done.
TRIES = 5
PAUSE_SECONDS = 0.1


def probe(alias: str) -> float:
    """Claim, write, read and invalidate two keys of our own under a fence, as jobs do; leave nothing.

    Returns:
        The seconds that it took.

    Raises:
        StoreUnavailable: the cache does not answer, refuses a key or a command, or does not keep the keys.
    """
    name = f"warmer-probe-{secrets.token_hex(4)}"
    template = KeyTemplate.parse(f"{name}:{{id}}", keyed=True)
    store = open_store(
        alias=alias, fence=name, template=template, timeout=KEY_SECONDS, absent_timeout=KEY_SECONDS
    )
    values = {template.key(id): secrets.token_hex(8) for id in ("1", "2")}
    for _ in range(TRIES):
        started = perf_counter()
        try:
            claim = store.claim([*values], seconds=KEY_SECONDS)
            written = store.write(claim.token, values, claim=claim)
            found = store.lookup([*values]).values
            store.fresh([*values], seconds=1)
            store.remaining([*values])
            store.overtaken(store.token(values), [*values])
            store.invalidate([*values])
        finally:
            store.forget()
        if written.errors:
            raise StoreUnavailable(f"The cache {alias!r} refuses a key: {min(written.errors.values())}")
        # While a replica may lag, a new fence refuses every write: then the answer alone has to do.
        superseded = Outcome.SUPERSEDED in written.outcomes.values()
        if found == values or (conf.REPLICA_LAG and superseded):
            return perf_counter() - started
        time.sleep(PAUSE_SECONDS)
    raise StoreUnavailable(
        f"The cache {alias!r} does not keep what is written: reading it back finds nothing"
    )
