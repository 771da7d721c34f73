"""The tables of `warmer`: runs, changes, audits, observations."""

from warmer.models.audits import CacheAudit, Verdict
from warmer.models.changes import ChangeRecord, JobServers
from warmer.models.monitoring import (
    BEAT_SILENCE,
    BeatProcess,
    JobHour,
    JobObservation,
    RunTotal,
    elsewhere,
    start_of_hour,
)
from warmer.models.routing import PrimaryManager, atomic_for, outside_transactions, rows_of
from warmer.models.runs import ACTIVE, FIGURES, Job, State, Trigger, WarmingBatch, WarmingRun
