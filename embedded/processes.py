"""Start processes in groups of their own, and end them with all their children and folders."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

KILL_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One way to ask a process to stop, and how long it may take before the next one."""

    signal: signal.Signals
    seconds: float


POLITELY = (Ask(signal=signal.SIGTERM, seconds=10),)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The user that a process runs as, where it may not run as root."""

    name: str
    uid: int
    gid: int


def spawn(
    command: Sequence[str],
    *,
    output: IO[bytes] | int,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    identity: Identity | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, so that a Ctrl-C reaches only us.

    Should this process die without a chance to stop the command, the reaper does it.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=None if env is None else dict(env),
        cwd=cwd,
        start_new_session=True,
        user=None if identity is None else identity.uid,
        group=None if identity is None else identity.gid,
        extra_groups=None if identity is None else [],
    )
    _reaper.tell(f"+group {process.pid}")
    return process


def finish(
    process: subprocess.Popen[bytes],
    *,
    asks: Sequence[Ask] = POLITELY,
    hurried: Callable[[], bool] = lambda: False,
) -> int:
    """End a process and everything in its group; return its exit code.

    Args:
        asks: tried in turn, on the process alone; what is left after them is killed.
        hurried: asked while waiting; when it says yes, the rest is killed at once.
    """
    for ask in asks:
        if process.poll() is not None:
            break
        process.send_signal(ask.signal)
        _wait(process, ask.seconds, hurried)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait(KILL_SECONDS)
    _reaper.tell(f"-group {process.pid}")
    return code


def temporary_folder(prefix: str, *, base: Path | None = None) -> Path:
    """Make a folder that is gone when this process is, also when it had no chance to remove it."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
    _reaper.tell(f"+folder {folder}")
    return folder


def remove_folder(folder: Path) -> None:
    """Remove a temporary folder."""
    shutil.rmtree(folder, ignore_errors=True)
    _reaper.tell(f"-folder {folder}")


def keep_open_until_all_ended(descriptor: int) -> None:
    """Let the reaper have an open file too: a lock on it lasts until no process of ours is left."""
    _reaper.keep_open(descriptor)


def describe_exit(code: int) -> str:
    """Return an exit code in words."""
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def _wait(process: subprocess.Popen[bytes], seconds: float, hurried: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end and not hurried():
        time.sleep(0.02)


class _Reaper:
    """Our end of the pipe to `reaper.py`, which is started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipe: int | None = None
        self._inherited: list[int] = []

    def keep_open(self, descriptor: int) -> None:
        with self._lock:
            assert self._pipe is None, "the reaper runs already and cannot inherit any more"
            self._inherited.append(descriptor)

    def tell(self, line: str) -> None:
        with self._lock:
            if self._pipe is None:
                self._pipe = self._start()
            # Shorter than PIPE_BUF: written whole or not at all.
            with contextlib.suppress(BrokenPipeError):
                os.write(self._pipe, os.fsencode(f"{line}\n"))

    def _start(self) -> int:
        read_end, write_end = os.pipe()
        script = Path(__file__).with_name("reaper.py")
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(script)],
            stdin=read_end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=self._inherited,
            cwd="/",
        )
        os.close(read_end)
        # It ends after us, so nobody waits for it: Python need not warn that it still runs.
        process.returncode = 0
        return write_end


_reaper = _Reaper()
