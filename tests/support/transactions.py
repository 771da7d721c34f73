"""What a test raises to have its own transaction rolled back."""

from __future__ import annotations


class Rollback(Exception):
    """Rolls a transaction back."""
