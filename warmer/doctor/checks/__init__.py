"""Every check, in the order in which they run and are shown."""

from __future__ import annotations

from warmer.doctor.check import CacheCheck, ProjectCheck
from warmer.doctor.checks import access, celery, connection, durability, jobs, keys, memory

CACHE_CHECKS: tuple[CacheCheck, ...] = (
    connection.Backend(),
    connection.Reachability(),
    connection.Writes(),
    connection.Timeouts(),
    access.Exposure(),
    access.Pickle(),
    durability.Persistence(),
    memory.Maxmemory(),
    memory.MaxmemoryPolicy(),
    memory.MemoryGrowth(),
    memory.Fragmentation(),
    memory.Evictions(),
    keys.KeysWithoutTtl(),
    keys.BigKeys(),
    keys.SlowLog(),
    durability.Replication(),
    durability.Sentinels(),
    celery.BrokerApart(),
)
PROJECT_CHECKS: tuple[ProjectCheck, ...] = (
    jobs.Database(),
    jobs.ClockSkew(),
    celery.BrokerAnswers(),
    celery.BrokerTimeouts(),
    access.BrokerExposure(),
    durability.BrokerPersistence(),
    celery.BrokerEviction(),
    access.CeleryPickle(),
    celery.Workers(),
    celery.QueueLength(),
    celery.BeatAlive(),
    jobs.SameCache(),
    jobs.JobTtl(),
    jobs.Capture(),
    jobs.PendingInvalidations(),
)
