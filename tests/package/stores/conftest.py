"""Fixtures of the stores' tests."""

from __future__ import annotations

from tests.support.clusters import cluster

__all__ = ["cluster"]
