"""`@warm` and `@warm_many`, and the job objects that they return.

As an attribute of `warmer`, `jobs` is the registry: import from here by name.
"""

from warmer.api.decorators import warm, warm_many
from warmer.api.jobs import KeyedJob, SingleJob

__all__ = ["KeyedJob", "SingleJob", "warm", "warm_many"]
