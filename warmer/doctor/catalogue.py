"""Every check, in the order in which they are made and shown."""

from __future__ import annotations

from warmer.doctor.broker import (
    BrokerAnswers,
    BrokerApart,
    BrokerEviction,
    BrokerExposure,
    BrokerPersistence,
    BrokerTimeouts,
)
from warmer.doctor.celery import BeatAlive, CeleryPickle, QueueLength, Workers
from warmer.doctor.check import CacheCheck, ProjectCheck
from warmer.doctor.database import ClockSkew, Database
from warmer.doctor.jobs import Capture, JobTtl, PendingInvalidations
from warmer.doctor.keys import BigKeys, KeysWithoutTtl
from warmer.doctor.latency import SlowLog
from warmer.doctor.memory import Evictions, Fragmentation, Maxmemory, MaxmemoryPolicy, MemoryGrowth
from warmer.doctor.persistence import Persistence
from warmer.doctor.reachability import Backend, Reachability, Timeouts, Writes
from warmer.doctor.replication import Replication, Sentinels
from warmer.doctor.security import Exposure, Pickle

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
