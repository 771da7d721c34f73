"""What `script/server` writes down, so that a command in another terminal finds its servers."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

FILE_NAME = "running.json"
# Held for as long as the servers live (see `embedded.instance`).
LOCK_NAME = "serve.lock"


def announce(data_dir: Path, **servers: str) -> Path:
    """Write down the servers that this process keeps running; return the file to remove at the end."""
    path = data_dir / FILE_NAME
    path.touch(mode=0o600)
    path.write_text(json.dumps(servers))
    return path


def running_servers(data_dir: Path) -> dict[str, str]:
    """Return the variables that lead to the servers of a running `script/server`, or nothing."""
    try:
        with (data_dir / LOCK_NAME).open() as lock:
            if _is_free(lock.fileno()):
                return {}
        return dict(json.loads((data_dir / FILE_NAME).read_text()))
    except (OSError, ValueError):
        return {}


def _is_free(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
