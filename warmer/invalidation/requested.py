"""Whether this process has the cache that the last request for a run meant, as a deploy's or a user's.

A database trigger knows no cache, so a record does not tell which one it concerns. A process with another
cache than web applies the records to its own, and leaves them unmarked for a process with the cache of web.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.apps import apps
from django.utils import timezone

from warmer.declarations.registry import jobs
from warmer.stores import difference

logger = logging.getLogger(__name__)

# The triggers of runs that are requested from outside the workers.
OUTSIDE = ("deploy", "command", "admin")
# How long a request tells.
SPAN = timedelta(days=1)
_elsewhere = ""


def is_elsewhere() -> bool:
    """Return whether the last request meant another cache, when that was last asked."""
    return bool(_elsewhere)


def ask() -> None:
    """Ask which cache the last request for a run meant."""
    global _elsewhere
    # By name: models are not ready yet when `import warmer` brings this module.
    recent = apps.get_model("warmer", "WarmingRun").objects.filter(requested_at__gt=timezone.now() - SPAN)
    requests = recent.filter(trigger__in=OUTSIDE, job__in=list(jobs)).exclude(cache="")
    run = requests.order_by("-requested_at").first()
    found = difference(run.cache, jobs[run.job].spec.cache) if run is not None else ""
    if found and found != _elsewhere:
        logger.error(
            "Web and this process use different caches: %s. Recorded changes wait for a process with web's",
            found,
        )
    _elsewhere = found
