"""Audits: compare cached values with what the loader returns now."""

from warmer.monitoring.audit.audits import UncommittedChanges, audit, note_repairs, perform

__all__ = ["UncommittedChanges", "audit", "note_repairs", "perform"]
