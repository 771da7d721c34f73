"""Whether this process may be sent requests: the checks of `/readyz`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections, router
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Max
from django.utils import timezone

from warmer.conf import conf, moment_of
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable
from warmer.invalidation import captures_by_triggers, triggers
from warmer.models import State, Trigger, WarmingRun
from warmer.report import describe

logger = logging.getLogger(__name__)

# As good as the start of the process: the addresses are imported before the first request.
STARTED_AT = timezone.now()
# An answer is read by a load balancer, not by a person: it names a few, and counts the rest.
NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that must be so before requests come.

    Attributes:
        name: what was looked at.
        why: what is wrong, without addresses and logins: anyone may ask. Empty: nothing is.
        is_required: whether requests may not come while it is wrong.
    """

    name: str
    why: str = ""
    is_required: bool = True

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.why


def readiness() -> list[Check]:
    """Look at the databases, their migrations, the caches of the jobs and, if it is asked for, at the warm.

    What cannot be known since its database does not answer is not looked at.
    """
    found: list[Check] = []
    for alias in _databases():
        found.append(_answered(f"database:{alias}", partial(_ask_database, alias)))
        if found[-1].ok:
            found.append(_answered(f"migrations:{alias}", partial(_missing_migrations, alias)))
            if captures_by_triggers():
                # Another release may have installed what it needs, while this one still serves.
                check = _answered(f"triggers:{alias}", partial(_missing_triggers, alias))
                found.append(replace(check, is_required=False))
    databases_are_well = all(check.ok for check in found)
    for alias, spec in {spec.cache: spec for spec in jobs.specs()}.items():
        found.append(_answered(f"cache:{alias}", partial(_ask_cache, spec)))
    if conf.READY_REQUIRES_WARM and databases_are_well:
        found.append(_answered("warm", _not_warm))
    return found


def _answered(name: str, question: Callable[[], str]) -> Check:
    """Return a check; who does not answer is told to the log in full, and here without its address."""
    try:
        return Check(name=name, why=question())
    except (StoreUnavailable, DatabaseError, InterfaceError, OSError) as error:
        cause = error.__cause__ if isinstance(error, StoreUnavailable) and error.__cause__ else error
        logger.warning("Not ready: %s: %s", name, describe(error))
        return Check(name=name, why=f"does not answer as it should ({type(cause).__name__}; see the log)")


# -- the databases ---------------------------------------------------------------------------------
def _databases() -> list[str]:
    """Return the database of the site, and that of the ledger where it is another."""
    return list(dict.fromkeys((DEFAULT_DB_ALIAS, router.db_for_write(WarmingRun))))


def _ask_database(alias: str) -> str:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    return ""


def _missing_triggers(alias: str) -> str:
    if alias not in triggers.databases():
        return ""
    found = triggers.problems(alias)
    return f"not captured: {_some(problem.table for problem in found)}" if found else ""


# What was applied on a database when nothing was missing: the migrations of a process do not change, so
# to work out the plan again (about 50 ms) takes another list of what was applied.
_complete: dict[str, frozenset[tuple[str, str]]] = {}


def _missing_migrations(alias: str) -> str:
    connection = connections[alias]
    applied = frozenset(MigrationRecorder(connection).applied_migrations())
    if _complete.get(alias) == applied:
        return ""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not plan:
        _complete[alias] = applied
        return ""
    return f"not applied: {_some(f'{step.app_label}.{step.name}' for step, _ in plan)}"


# -- the caches ------------------------------------------------------------------------------------
def _ask_cache(spec: JobSpec) -> str:
    spec.store.ping()
    return ""


# -- the warm --------------------------------------------------------------------------------------
_warmed: set[tuple[str, str]] = set()


def _not_warm() -> str:
    """Say which required jobs have not been warmed yet (see `WARMER_READY_REQUIRES_WARM`).

    A job that was seen to be warm stays so for this process: that a later refresh fails is no reason to
    take the site away from its visitors, and one that has no more runs in the ledger was warmed all the same.
    """
    given = conf.READY_WARM_SINCE
    try:
        since = moment_of(given) if given else None
    except ValueError:
        return (
            f"WARMER_READY_WARM_SINCE is {given!r}: expected a moment with its offset, "
            "e.g. 2026-11-30T12:00:00+00:00"
        )
    waiting = [spec for spec in jobs.specs() if spec.required and (spec.name, given) not in _warmed]
    if not waiting:
        return ""
    ended = (
        WarmingRun.objects.filter(job__in=[spec.name for spec in waiting], state=State.COMPLETE)
        .exclude(trigger=Trigger.CHANGE)
        .values("job")
        .order_by()
        .annotate(last=Max("finished_at"))
    )
    last = {row["job"]: row["last"] for row in ended}
    cold = [spec for spec in waiting if not _counts(last.get(spec.name), since, spec.timeout)]
    _warmed.update((spec.name, given) for spec in waiting if spec not in cold)
    if not cold:
        return ""
    asked = given or "their timeout before this process started"
    return f"no complete run since {asked}: {_some(spec.name for spec in cold)}"


def _counts(ended: datetime | None, since: datetime | None, timeout: timedelta) -> bool:
    return ended is not None and ended >= (since or STARTED_AT - timeout)


def _some(names: Iterator[str]) -> str:
    every = list(names)
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return ", ".join(every[:NAMED]) + more
