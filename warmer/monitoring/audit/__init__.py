"""Audits: what is cached, compared with what the loader gives now."""

from warmer.monitoring.audit.audits import UncommittedChanges, perform
from warmer.monitoring.audit.findings import Audit, Verdict
from warmer.monitoring.audit.keeping import kept, last_audits

__all__ = [
    "Audit",
    "UncommittedChanges",
    "Verdict",
    "kept",
    "last_audits",
    "perform",
]
