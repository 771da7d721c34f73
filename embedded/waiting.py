"""Wait for a condition, with a time limit."""

import time
from collections.abc import Callable

# A limit for steps of a second or two, on a busy machine.
SECONDS = 60


def wait_until(
    condition: Callable[[], bool], *, what: str, seconds: float = SECONDS, pause: float = 0.02
) -> None:
    """Return as soon as the condition holds.

    Args:
        what: a description of the condition, for the message: "the server answers PING".

    Raises:
        TimeoutError: the condition did not hold in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            raise TimeoutError(f"Timed out after {seconds:g} s waiting until {what}.")
        time.sleep(pause)
