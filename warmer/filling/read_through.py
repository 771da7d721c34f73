"""Read-through: what is cached, or else loaded once and stored under the fence."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable
from warmer.filling import read_counters
from warmer.filling.single_flight import load_missing, load_past_the_cache
from warmer.invalidation import is_pending, reads_a_snapshot
from warmer.keys import Batch, Id, plain
from warmer.report import describe
from warmer.stores import Peeked

logger = logging.getLogger(__name__)


def get(spec: JobSpec, id: Id | None, default: Any = None) -> Any:
    """Return the value of one key; `default` when it has none.

    Raises:
        InvalidId: the id cannot be part of a key.
        Exception: whatever the loader raises.
    """
    key = spec.key.key(id)
    wanted = {key: plain(id)}
    if is_pending(spec, on_miss=False):
        return _load_past(spec, wanted).get(key, default)
    try:
        value = spec.store.peek(key)
    except StoreUnavailable as error:
        return _load_without_cache(spec, wanted, error).get(key, default)
    if value is Peeked.NOTHING:
        read_counters.count_read(spec, wanted, wanted)
        return _fill(spec, wanted).get(key, default)
    read_counters.count_read(spec, wanted)
    return default if value is Peeked.NO_VALUE else value


def get_many(spec: JobSpec, ids: Iterable[Any]) -> dict[Any, Any]:
    """Return the values of many ids; ids without one are left out.

    Raises:
        InvalidId: an id cannot be part of a key.
        Exception: whatever the loader raises.
    """
    wanted = {id: spec.key.key(id) for id in ids}
    found = _get_keys(spec, {key: plain(id) for id, key in wanted.items()})
    return {id: found[key] for id, key in wanted.items() if key in found}


def _get_keys(spec: JobSpec, wanted: Batch) -> dict[str, Any]:
    """Return the values by key; `wanted` maps each key to its id."""
    if not wanted:
        return {}
    if is_pending(spec, on_miss=False):
        return _load_past(spec, wanted)
    try:
        cached = spec.store.look(list(wanted))
    except StoreUnavailable as error:
        return _load_without_cache(spec, wanted, error)
    known = {*cached.values, *cached.absent}
    missing = {key: id for key, id in wanted.items() if key not in known}
    read_counters.count_read(spec, wanted, missing)
    if not missing:
        return dict(cached.values)
    return {**cached.values, **_fill(spec, missing)}


def _fill(spec: JobSpec, missing: Batch) -> dict[str, Any]:
    # What is not committed, or what a snapshot shows, is not for others.
    fill = load_past_the_cache if is_pending(spec) or reads_a_snapshot() else load_missing
    return fill(spec, missing)


def _load_past(spec: JobSpec, wanted: Batch) -> dict[str, Any]:
    # What this transaction changed is not in the cache, and must not get there before its commit.
    read_counters.count(spec, {"past": len(wanted)})
    return load_past_the_cache(spec, wanted)


def _load_without_cache(spec: JobSpec, wanted: Batch, error: StoreUnavailable) -> dict[str, Any]:
    logger.warning("Reading %s from the database: %s", spec.name, describe(error))
    read_counters.count(spec, {"past": len(wanted)})
    return load_past_the_cache(spec, wanted)
