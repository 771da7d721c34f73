"""What `warmer` keeps in the database: runs, changes, audits, observations, the declared schedule."""

from warmer.models.audits import CacheAudit
from warmer.models.batches import WarmingBatch
from warmer.models.changes import ChangeRecord
from warmer.models.jobs import Job
from warmer.models.observations import JobObservation
from warmer.models.runs import FIGURES, WarmingRun
from warmer.models.schedules import JobSchedule
from warmer.models.states import ACTIVE, State
from warmer.models.totals import RunTotal
from warmer.models.triggers import Trigger

__all__ = [
    "ACTIVE",
    "FIGURES",
    "CacheAudit",
    "ChangeRecord",
    "Job",
    "JobObservation",
    "JobSchedule",
    "RunTotal",
    "State",
    "Trigger",
    "WarmingBatch",
    "WarmingRun",
]
