"""Errors of the servers and processes that we start."""


class EmbeddedError(Exception):
    """A server or process cannot start, or has ended. The message names it and says what to do."""
