"""What goes wrong with the servers that we start: every message names the thing and what to do."""


class EmbeddedError(Exception):
    """A server or process of the project cannot be started or went away."""


class ServerNotFound(EmbeddedError):
    """No program for this server is installed where we look."""


class ServerFailed(EmbeddedError):
    """The program is there, but the server did not start or did not answer."""
