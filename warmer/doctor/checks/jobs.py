"""The jobs and their database: TTLs against intervals, captured changes, pending invalidations, the clock."""

import time
from collections.abc import Iterator
from datetime import timedelta

from django.db import DatabaseError, InterfaceError, connections, router

from warmer import invalidation, tasks
from warmer.doctor.check import Finding, error, info, ok, project_check, warning
from warmer.doctor.project import NotApplicable, Project
from warmer.humanize import counted, duration
from warmer.invalidation import triggers
from warmer.models import JobObservation, WarmingRun, elsewhere
from warmer.report import describe

# Also a system check.
BY_SIGNALS = info(
    "Changes are captured by Django's signals.",
    why="update(), bulk_create(), bulk_update(), SET_NULL, raw SQL, data migrations and other programs send "
    "none: after these, old values stay in the cache.",
    fix="WARMER_CAPTURE = 'triggers'\n(PostgreSQL, SQLite), then 'manage.py migrate'. Or WARMER_CAPTURE = "
    "'signals', and call invalidate_for() after such changes.",
    check="warmer.W007",
)


def without_table(alias: str, where: str = "which lacks warmer's table") -> Finding:
    """Return the warning about a database where changes cannot be recorded. Also a system check."""
    message = f"Jobs depend on tables of the database {alias!r}, {where}: changes there cannot be recorded."
    why = "Triggers capture none, and changes from signals are lost if the process is killed or the cache "
    why += "is down."
    fix = f"Let allow_migrate() return True for {alias!r} and the model 'changerecord' of the app "
    fix += f"'warmer', and run 'manage.py migrate --database {alias}'. If it has nothing to apply, first run "
    fix += f"'manage.py migrate warmer zero --fake --database {alias}'."
    return warning(message, why=why, fix=fix, check="warmer.W011")


DATABASE_URL = "DATABASE_URL=postgres://USER:PASSWORD@HOST:5432/NAME\n"
# The current time in seconds: in a transaction, CURRENT_TIMESTAMP may be the time of its start.
CLOCKS = {
    "postgresql": "SELECT EXTRACT(EPOCH FROM clock_timestamp())",
    "mysql": "SELECT UNIX_TIMESTAMP(SYSDATE(6))",
}
# Leases and due times are in seconds; with NTP, clocks are off by milliseconds.
SKEW, LARGE_SKEW = 2.0, 30.0
# Workers look twice a second, and at least every half minute while a cache is down.
LATE, VERY_LATE = timedelta(seconds=30), timedelta(minutes=5)


@project_check()
def database(project: Project) -> Iterator[Finding]:
    """The database answers, and has warmer's tables."""
    alias = router.db_for_write(WarmingRun)
    connection = connections[alias]
    try:
        with connection.cursor() as cursor:
            tables = connection.introspection.table_names(cursor)
    except (DatabaseError, InterfaceError) as problem:
        message = f"The database {alias!r} does not answer: {describe(problem)}."
        why = "No page and no loader works; nothing can be warmed."
        fix = f"{DATABASE_URL}must lead to a server that is up and has a free connection."
        yield error(message, why=why, fix=fix)
        return
    why = "No run can be recorded, so none starts; and no invalidation survives a cache outage."
    if invalidation.is_read_only(alias):
        fix = f"{DATABASE_URL}must lead to the primary, not to a standby. Or a full disk or a setting made "
        fix += "it read-only: its log says which."
        yield error(f"The database {alias!r} is read-only.", why=why, fix=fix)
    if WarmingRun._meta.db_table not in tables:
        message = f"The database {alias!r} does not have warmer's tables."
        yield error(message, why=why, fix=f"manage.py migrate --database {alias}")


@project_check(after=("database",))
def clock_skew(project: Project) -> Iterator[Finding]:
    """This machine's clock agrees with the database's."""
    connection = connections[router.db_for_write(WarmingRun)]
    if connection.vendor not in CLOCKS:
        raise NotApplicable(f"{connection.vendor} has no clock of its own")
    with connection.cursor() as cursor:
        before = time.time()
        cursor.execute(CLOCKS[connection.vendor])
        took = time.time() - before
        skew = before + took / 2 - float(cursor.fetchone()[0])
    if abs(skew) <= SKEW + took:
        return
    severity = error if abs(skew) >= LARGE_SKEW else warning
    side = "ahead of" if skew > 0 else "behind"
    message = f"This machine's clock is {duration(abs(skew))} {side} the database's."
    why = "Machines judge each other's runs by these times, so live runs are reported as lost."
    fix = "timedatectl set-ntp true\non both machines. 'chronyc tracking' shows how far off each is."
    yield severity(message, why=why, fix=fix)


@project_check(after=("database",))
def job_ttl(project: Project) -> Iterator[Finding]:
    """Keys outlive a missed refresh."""
    entries = project.schedule.entries() if project.schedule else {}
    scheduled = [spec for spec in project.specs if spec.every is not None or spec.name in entries]
    if not scheduled:
        raise NotApplicable("no job is scheduled")
    for spec in scheduled:
        entry = entries.get(spec.name)
        if entry is not None and not entry.enabled:
            why = "Its keys go cold when they expire, and are then loaded by readers."
            message = f"{spec.name} is disabled in the schedule."
            yield info(message, why=why, fix="/admin/warmer/\nresumes it.")
            continue
        gap = entry.shortest_gap if entry is not None else spec.every
        if gap is None:
            continue  # a solar event, or a single date
        life = spec.timeout - spec.jitter
        every = entry.text if entry is not None else f"every {duration(gap)}"
        message = f"{spec.name} is refreshed {every}, and its keys live {duration(life)}."
        fix = f"timeout=timedelta(seconds={3 * gap.total_seconds():.0f})\nin the declaration of {spec.name} "
        fix += f"({spec.declared_at}); or a shorter interval in the schedule."
        if life <= gap:
            yield error(message, why="The keys expire before each refresh: readers find them cold.", fix=fix)
        elif life < 2 * gap:
            yield warning(message, why="If one refresh is missed or late, all its keys are cold.", fix=fix)


@project_check(after=("database",))
def same_cache(project: Project) -> Iterator[Finding]:
    """Workers keep the keys in the cache that this process reads."""
    if any(cache.problem for cache in project.caches if cache.specs):
        raise NotApplicable("backend failed")
    for text, names in elsewhere(JobObservation.objects.all()).items():
        message = f"A worker and web use different caches for {', '.join(names)}: {text}."
        why = "Keys warmed there are cold here, and keys invalidated there stay outdated here."
        fix = "CACHES must have the same LOCATION, KEY_PREFIX, VERSION and KEY_FUNCTION\nin the "
        fix += "environment of both. Then restart the workers: they apply the pending invalidations."
        yield error(message, why=why, fix=fix)
    if text := invalidation.other_cache(ask=True):
        message = f"The last run was requested for another cache: {text}."
        why = "Invalidations wait for a worker with that cache."
        fix = "manage.py warm_cache\nin the environment of the web processes, if a shell with other "
        fix += "settings requested that run."
        yield error(message, why=why, fix=fix)


@project_check(after=("database",))
def capture(project: Project) -> Iterator[Finding]:
    """Every table that a job depends on has its triggers."""
    if not any(spec.depends_on for spec in project.specs):
        raise NotApplicable("no job depends on a table")
    yield from map(without_table, triggers.unrecorded())
    if not invalidation.captures_by_triggers():
        yield BY_SIGNALS
        return
    for problem in triggers.problems():
        message = f"{problem.table} on {problem.using!r} {problem.why}."
        yield warning(message, why="Some of its changes leave old values in the cache.", fix=problem.fix)


@project_check(after=("database",))
def pending_invalidations(project: Project) -> Iterator[Finding]:
    """Changes are invalidated promptly."""
    pending = invalidation.backlog()
    for alias, problem in pending.unanswered.items():
        message = f"The database {alias!r} does not answer: {problem}."
        why = "Pending changes there are not applied, and pages cannot show them."
        fix = f"DATABASES[{alias!r}]['TEST'] = {{'MIRROR': 'default'}}\nif it is a replica, or a "
        fix += "router whose allow_migrate() keeps warmer off it. Otherwise start it."
        yield warning(message, why=why, fix=fix)
    message = f"{counted(pending.count, 'invalidation')} pending"
    if not pending.count or pending.age < LATE:
        yield ok(message)
        return
    severity = error if pending.age >= VERY_LATE else warning
    message = f"{message} (oldest: {duration(pending.age)})."
    why = "Readers may see old values. The cache was unavailable, or no worker applied them."
    fix = f"celery -A {tasks.app_name()} worker\nor 'manage.py warm_listen' applies them within a "
    fix += "second once the cache answers; see reachability, writes and workers."
    yield severity(message, why=why, fix=fix)
