"""End a process group once the process that started it is gone, and remove its folder.

    guard.py PARENT GROUP [FOLDER]

`ProcessGroup` starts this file alongside each process and ends it after an orderly stop. If the parent dies
without one, e.g. by SIGKILL, this cleans up. Linux's PR_SET_PDEATHSIG is not enough: it does not reach
grandchildren, fires when the *thread* that started a child ends, and does not exist on macOS.
"""

import os
import shutil
import signal
import sys
import time

PARENT_CHECK_SECONDS = 0.3
TERM_SECONDS = 5.0
KILL_SECONDS = 1.0  # zombies that nobody reaps would stay in the group forever


def main(parent: int, group: int, folder: str = "") -> None:
    """Wait until the parent is gone, then clean up."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    end(group)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


def end(group: int) -> None:
    """Ask a group to stop, kill it if it does not stop in time, and return once it is gone."""
    try:
        for asked, seconds in ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
            deadline = time.monotonic() + seconds
            os.killpg(group, asked)
            os.killpg(group, signal.SIGCONT)  # in case it is paused
            while time.monotonic() < deadline:
                time.sleep(0.05)
                os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # macOS: not permitted when all are zombies
        pass


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
