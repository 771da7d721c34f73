"""Prevent two `script/server` from using the same data folder, and record the running servers there."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from config.running_servers import FILE_NAME, LOCK_NAME
from embedded.processes import EmbeddedError


@contextmanager
def only_instance(data_dir: Path, address: str) -> Iterator[None]:
    """Lock the data folder.

    The system releases the lock when this process exits for any reason, so a leftover file does no harm.
    After a SIGKILL it is held until the guards have ended our servers, because two servers must not write the
    same files.

    Raises:
        EmbeddedError: another one holds the folder, or it cannot be written.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / LOCK_NAME).open("a+")
    except OSError as error:
        raise EmbeddedError(
            f"The data folder {data_dir} is not writable ({error.strerror}). Fix that, or choose "
            "another: WARMER_DATA_DIR=/path/to/folder script/server"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise EmbeddedError(
                f"script/server already runs on {data_dir} ({lock.read()}). Stop it with Ctrl-C in its "
                "terminal, or give this one a folder and a port of its own: "
                "WARMER_DATA_DIR=.data/second PORT=8001 script/server"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, {address}")
        lock.flush()
        os.set_inheritable(lock.fileno(), True)
        try:
            yield
        finally:
            (data_dir / FILE_NAME).unlink(missing_ok=True)
            fcntl.flock(lock, fcntl.LOCK_UN)


def announce(data_dir: Path, servers: Mapping[str, str]) -> None:
    """Record the variables with the servers' addresses, until `only_instance` ends."""
    path = data_dir / FILE_NAME
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)  # an address may contain a password
    path.write_text(json.dumps(servers))
