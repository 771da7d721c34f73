"""Notice that another server is behind a cache, and invalidate what it may have lost.

A replica that is promoted, and a server that restarts from its disk, may lack invalidations that were
acknowledged. Which incarnations of the server each job has been invalidated on is kept in the database, so
that one worker mends, and a worker that starts later compares too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from math import inf

from django.apps import apps
from django.db import connections, router

from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.invalidation import records
from warmer.invalidation.apply import invalidate_ids
from warmer.invalidation.databases import TABLE, are_kept, captures_by_triggers, written
from warmer.invalidation.recording import record_of_ids
from warmer.stores import Incarnation, incarnation_of

logger = logging.getLogger(__name__)


class Failovers:
    """Looks which incarnation of its server each cache reaches, and remembers when it was last there.

    Attributes:
        replays_until: when, on the monotonic clock, changes need no longer be applied once more: some process
            may still have reached the server before.
    """

    def __init__(self) -> None:
        self.replays_until = -inf
        self._reached: dict[str, tuple[str, float]] = {}

    def mend(self) -> bool:
        """Invalidate what another server behind a cache may have lost; return whether there was one.

        Raises:
            StoreUnavailable: a cache does not answer. It is tried again at the next call.
            Error: the database does not answer. The same.
        """
        is_mended = False
        for alias in sorted({spec.cache for spec in jobs.specs()}):
            found = incarnation_of(alias)
            if found is None:
                continue
            before, at = self._reached.get(alias, ("", -inf))
            if before != found.id and _compare(alias, found, time.monotonic() - at):
                self.replays_until = time.monotonic() + conf.REPLAY.total_seconds()
                is_mended = True
            self._reached[alias] = found.id, time.monotonic()
        return is_mended


def _compare(alias: str, found: Incarnation, age: float) -> bool:
    """Mend the jobs of a cache that are not known on this incarnation yet; return whether there were.

    Args:
        age: how many seconds ago this process reached another incarnation; infinite: it has just started.
    """
    specs = {spec.name: spec for spec in jobs.specs() if spec.cache == alias}
    # By name: models are not ready yet when `import warmer` brings this module.
    servers = apps.get_model("warmer", "JobServers").objects
    with servers.reached(found.id, list(specs), is_change=age < inf) as before:
        is_known = any(found.id in others for others in before.values())
        has_just_started = found.uptime <= age + 1 and not is_known  # both are rounded
        if before and not (found.began_empty and has_just_started):
            # Half of the time is for what the log lacks, and for the purge of records.
            is_covered = found.read_log and has_just_started and age < conf.REPLAY.total_seconds() / 2
            lost = [specs[name] for name in before]
            _mend(alias, lost, is_covered=is_covered and captures_by_triggers())
            return True
    return False


def _mend(alias: str, specs: Collection[JobSpec], *, is_covered: bool) -> None:
    """Drop the fences of jobs, and record what is to be invalidated.

    Args:
        is_covered: the changes of the last `WARMER_REPLAY` make up for what was lost.
    """
    # A token of the server before may carry a count from a clock that ran ahead: no fence may take it.
    for spec in specs:
        spec.store.forget()
    again = f"the changes of the last {conf.REPLAY.total_seconds():g} s are applied again"
    logger.warning(
        "The server of the cache %r is another, or was restarted or promoted, and may lack invalidations: %s",
        alias,
        again if is_covered else f"every key of {len(specs)} jobs is invalidated",
    )
    if is_covered:
        for using in filter(are_kept, written()):
            _repeat(using)
        return
    using = router.db_for_write(apps.get_model("warmer", "ChangeRecord"))
    if are_kept(using):
        records.write([record_of_ids(spec, None) for spec in specs], using=using)
    else:
        invalidate_ids(dict.fromkeys(specs, None), sweep=True)


def _repeat(using: str) -> None:
    """Record once more what was applied within the last `WARMER_REPLAY`: that is what is still there."""
    columns = ", ".join(map(connections[using].ops.quote_name, ("source", "key", "rows")))
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {TABLE} ({columns}) SELECT {columns} FROM {TABLE} WHERE applied_at IS NOT NULL"
        )
