"""Keep two `script/server` from using one data folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.errors import EmbeddedError
from embedded.processes import keep_open_until_all_ended
from embedded.running import LOCK_NAME


@contextmanager
def only_instance(data_dir: Path, address: str) -> Iterator[None]:
    """Hold the data folder.

    The system frees the lock when we end, however we end, so a left-over file does no harm. After a
    SIGKILL it stays until the reaper has ended our servers: two of them must not write the same files.

    Raises:
        EmbeddedError: another one holds the folder, or it cannot be written.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / LOCK_NAME).open("a+")
    except OSError as error:
        raise EmbeddedError(
            f"The data folder {data_dir} cannot be written ({error.strerror}): mend that, or choose "
            "another: WARMER_DATA_DIR=/path/to/folder script/server"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise EmbeddedError(
                f"script/server already runs on {data_dir} ({lock.read()}). Stop it with Ctrl-C in its "
                "terminal, or give this one a folder and a port of its own: "
                "WARMER_DATA_DIR=.data/second PORT=8001 script/server"
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(f"process {os.getpid()}, {address}")
        lock.flush()
        keep_open_until_all_ended(lock.fileno())
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
