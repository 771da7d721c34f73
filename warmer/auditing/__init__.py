"""Audits: what is cached, compared with what the loader gives now."""

from warmer.auditing.audits import UncommittedChanges, perform
from warmer.auditing.findings import Audit, Verdict
from warmer.auditing.keeping import kept, last_audits

__all__ = [
    "Audit",
    "UncommittedChanges",
    "Verdict",
    "kept",
    "last_audits",
    "perform",
]
