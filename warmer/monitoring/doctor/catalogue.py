"""Every check, in the order in which they are made and shown."""

from __future__ import annotations

from warmer.monitoring.doctor.broker import (
    BrokerAnswers,
    BrokerApart,
    BrokerEviction,
    BrokerExposure,
    BrokerPersistence,
    BrokerTimeouts,
)
from warmer.monitoring.doctor.celery import BeatAlive, CeleryPickle, QueueLength, Workers
from warmer.monitoring.doctor.check import CacheCheck, ProjectCheck
from warmer.monitoring.doctor.database import ClockSkew, Database
from warmer.monitoring.doctor.jobs import Capture, JobTtl, PendingInvalidations
from warmer.monitoring.doctor.keys import BigKeys, KeysWithoutTtl
from warmer.monitoring.doctor.latency import SlowLog
from warmer.monitoring.doctor.memory import Evictions, Fragmentation, Maxmemory, MaxmemoryPolicy, MemoryGrowth
from warmer.monitoring.doctor.persistence import Persistence
from warmer.monitoring.doctor.reachability import Backend, Reachability, Timeouts, Writes
from warmer.monitoring.doctor.replication import Replication, Sentinels
from warmer.monitoring.doctor.security import Exposure, Pickle

CACHE_CHECKS: tuple[CacheCheck, ...] = (
    Backend(),
    Reachability(),
    Writes(),
    Timeouts(),
    Exposure(),
    Pickle(),
    Persistence(),
    Maxmemory(),
    MaxmemoryPolicy(),
    MemoryGrowth(),
    Fragmentation(),
    Evictions(),
    KeysWithoutTtl(),
    BigKeys(),
    SlowLog(),
    Replication(),
    Sentinels(),
    BrokerApart(),
)
PROJECT_CHECKS: tuple[ProjectCheck, ...] = (
    Database(),
    ClockSkew(),
    BrokerAnswers(),
    BrokerTimeouts(),
    BrokerExposure(),
    BrokerPersistence(),
    BrokerEviction(),
    CeleryPickle(),
    Workers(),
    QueueLength(),
    BeatAlive(),
    JobTtl(),
    Capture(),
    PendingInvalidations(),
)
