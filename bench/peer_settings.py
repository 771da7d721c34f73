"""The settings of the benchmarks, with the app of the library that a process tries."""

import os

from bench.settings import *  # noqa: F403
from bench.settings import INSTALLED_APPS as PROJECT_APPS

INSTALLED_APPS = [*PROJECT_APPS, *os.environ.get("BENCH_APPS", "").split()]

# Only what is decorated is cached, and in the same server as everything else.
CACHEOPS = {"users.customuser": {"ops": (), "timeout": 3600}}
CACHEOPS_REDIS = os.environ["REDIS_URL"]
# What its users have as a rule.
CACHEBACK_CACHE_ALIAS = "pickled"
