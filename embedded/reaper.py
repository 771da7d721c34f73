"""See to it that nothing outlives the process that started it, however that one ends.

`processes.py` starts this file as a small process of its own, tells it over a pipe about each process
group and temporary folder, and does the ordinary cleaning up itself. When the pipe closes or its
parent is gone (also by SIGKILL, which nobody can handle), this process removes what is left.

Linux's PR_SET_PDEATHSIG would not do: it reaches no grandchildren, fires when the *thread* that
started a child ends, and macOS has none.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import time

TERM_SECONDS = 5.0
PARENT_CHECK_SECONDS = 1.0


def main() -> None:
    """Keep the lists that the parent reports; end and remove what is on them once it is gone.

    The lines are `+group 123`, `-group 123`, `+folder /tmp/x`, `-folder /tmp/x`.
    """
    # A process forked by our parent may hold the pipe open: so look at the parent as well.
    parent = os.getppid()
    left: dict[str, set[str]] = {"group": set(), "folder": set()}
    rest = b""
    while os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], PARENT_CHECK_SECONDS)
        if not readable:
            continue
        received = os.read(0, 65536)
        if not received:
            break
        *lines, rest = (rest + received).split(b"\n")
        for line in lines:
            kind, _, what = os.fsdecode(line[1:]).partition(" ")
            change = left[kind].add if line[:1] == b"+" else left[kind].discard
            change(what)
    end({int(group) for group in left["group"]})
    for folder in left["folder"]:
        shutil.rmtree(folder, ignore_errors=True)


def end(groups: set[int]) -> None:
    """Ask the groups to stop, and kill those that have not after a while."""
    left = {group for group in groups if _signal(group, signal.SIGTERM)}
    deadline = time.monotonic() + TERM_SECONDS
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = {group for group in left if _signal(group, 0)}
    for group in left:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Send a signal to a process group; return whether there is anyone in it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS: not permitted when all are zombies
        return False
    return True


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    main()
