"""Named points in the code at which a test can stop a thread or run an action (see `warmer.testing`).

token_taken   a fill has taken its token, and will read the database next
loaded        a fill has loaded its values, and will write them next
written       a fill has written, and knows the outcomes
committed     a change is committed, and its invalidation will be applied next
invalidated   an invalidation was applied
"""

from collections.abc import Callable

NAMES = ("token_taken", "loaded", "written", "committed", "invalidated")

hooks: dict[str, Callable[[str], object]] = {}
"""The functions to call at each point. Empty except in tests."""


def reach(point: str, job: str) -> None:
    """Call the functions that a test registered for a point."""
    if hook := hooks.get(point):
        hook(job)
