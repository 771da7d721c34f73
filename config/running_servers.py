"""Find the servers of a running `script/server`, so that `manage.py` in another terminal uses them."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

FILE_NAME = "running.json"
# Locked while the servers run, so a file left behind by a crash does not count.
LOCK_NAME = "serve.lock"


def running_servers(data_dir: Path) -> dict[str, str]:
    """Return the variables with the servers' addresses, e.g. `{"REDIS_URL": ...}`; empty if none run."""
    try:
        with (data_dir / LOCK_NAME).open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return dict(json.loads((data_dir / FILE_NAME).read_text()))
    except (OSError, ValueError):
        pass
    return {}
