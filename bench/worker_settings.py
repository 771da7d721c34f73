"""The settings of the benchmarks with Celery workers: with jobs that need no database."""

from bench.settings import *  # noqa: F403
from bench.settings import INSTALLED_APPS as PROJECT_APPS

INSTALLED_APPS = [*PROJECT_APPS, "bench.loadapp"]
# What the ledger says of each run is not part of what is measured.
LOGGING_CONFIG = None
