"""What a test raises to have its own transaction rolled back."""


class Rollback(Exception):
    """Rolls a transaction back."""
