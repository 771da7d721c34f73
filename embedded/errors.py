"""What goes wrong with the servers and processes that we start."""


class EmbeddedError(Exception):
    """One cannot start, or has ended. The message names it and says what to do."""
