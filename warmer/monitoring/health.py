"""Whether this process may receive requests: the checks of `/readyz`."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections, router
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Max
from django.utils import timezone

from warmer.conf import conf, moment_of
from warmer.declarations.registry import jobs
from warmer.exceptions import NodeOfCluster, StoreUnavailable, cause_of
from warmer.invalidation import captures_by_triggers, is_read_only, triggers
from warmer.invalidation.records import is_dummy
from warmer.models import State, Trigger, WarmingRun
from warmer.report import describe

logger = logging.getLogger(__name__)

# Effectively the start of the process: URLs are imported before the first request.
STARTED_AT = timezone.now()
# Load balancers read the response, so it lists only a few names and counts the rest.
NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Check:
    """One condition for receiving requests.

    Attributes:
        why: the problem, without addresses and credentials, since anyone may request it; empty: none.
        is_required: whether a failure keeps requests away.
    """

    name: str
    why: str = ""
    is_required: bool = True

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.why


def readiness() -> list[Check]:
    """Check the databases, their migrations and triggers, the caches of the jobs and, if required, the warm.

    Checks that need a database are left out if it does not answer.
    """
    found: list[Check] = []
    aliases = dict.fromkeys((DEFAULT_DB_ALIAS, router.db_for_write(WarmingRun)))
    for alias in (each for each in aliases if not is_dummy(each)):
        name = f"database:{alias}"
        found.append(_check(name, partial(_database_answers, alias)))
        if found[-1].ok:
            # Pages that only read still work, and the other servers of the site have the same database.
            found[-1] = _check(name, partial(_rejects_writes, alias), is_required=False)
            found.append(_check(f"migrations:{alias}", partial(_missing_migrations, alias)))
            if captures_by_triggers():
                # Another release may have installed the triggers that it needs while this one still serves.
                missing = partial(_missing_triggers, alias)
                found.append(_check(f"triggers:{alias}", missing, is_required=False))
    databases_are_well = all(check.ok for check in found if check.is_required)
    for alias, spec in {spec.cache: spec for spec in jobs.specs()}.items():
        found.append(_check(f"cache:{alias}", spec.store.ping))
    if conf.READY_REQUIRES_WARM and databases_are_well:
        found.append(_check("warm", _cold_jobs))
    return found


def _check(name: str, problem: Callable[[], str | None], *, is_required: bool = True) -> Check:
    """Return a check. An error is logged in full; the check hides the address."""
    try:
        return Check(name=name, why=problem() or "", is_required=is_required)
    except NodeOfCluster as error:
        logger.warning("Not ready: %s: %s", name, error)
        return Check(name=name, why=error.advice, is_required=is_required)
    except (StoreUnavailable, DatabaseError, InterfaceError, OSError) as error:
        logger.warning("Not ready: %s: %s", name, describe(error))
        why = f"does not answer as expected ({cause_of(error)}; see the log)"
        return Check(name=name, why=why, is_required=is_required)


def _database_answers(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")


def _rejects_writes(alias: str) -> str:
    return "is read-only" if is_read_only(alias) else ""


# The databases on which no migration was missing. A process's own migrations do not change, and to plan them
# takes about 50 ms.
_migrated: set[str] = set()


def _missing_migrations(alias: str) -> str:
    if alias in _migrated:
        return ""
    executor = MigrationExecutor(connections[alias])
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        return f"not applied: {_some(f'{step.app_label}.{step.name}' for step, _ in plan)}"
    _migrated.add(alias)
    return ""


def _missing_triggers(alias: str) -> str:
    found = triggers.problems(alias)
    return f"not captured: {_some(problem.table for problem in found)}" if found else ""


# Jobs that were warm.
_warmed: set[str] = set()


def _cold_jobs() -> str:
    """Return which required jobs have not been warmed yet (see `WARMER_READY_REQUIRES_WARM`).

    Once a job is warm, it stays so for this process: neither a failing refresh nor deleted runs are a reason
    to take the site offline.
    """
    given = conf.READY_WARM_SINCE
    since = moment_of(given) if given else None
    waiting = {spec.name: spec for spec in jobs.specs() if spec.required and spec.name not in _warmed}
    ended = WarmingRun.objects.filter(job__in=waiting, state=State.COMPLETE, only_keys__isnull=True)
    ended = ended.exclude(trigger=Trigger.CHANGE)
    last = dict(ended.order_by().values_list("job").annotate(Max("finished_at")))
    _warmed.update(job for job, at in last.items() if at >= (since or STARTED_AT - waiting[job].timeout))
    cold = [name for name in waiting if name not in _warmed]
    asked = given or "their timeout before this process started"
    return f"no complete run since {asked}: {_some(cold)}" if cold else ""


def _some(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return ", ".join(every[:NAMED]) + more
