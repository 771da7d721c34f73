"""`@warm`, `@warm_many` and the job objects that they return."""

from warmer.api.decorators import warm, warm_many
from warmer.api.jobs import KeyedJob, SingleJob

__all__ = ["KeyedJob", "SingleJob", "warm", "warm_many"]
