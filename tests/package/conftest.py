"""The shared fixtures; not in `tests/conftest.py`, which pytest may load before there are settings."""

from tests.support.clusters import cluster  # noqa: F401
from tests.support.fixtures import *  # noqa: F403
