"""Processes that work for a benchmark: each with Django set up, and told what to do line by line.

Some libraries patch Django wherever they are installed, so each is tried in a process of its own; and a
herd of readers is no herd in one process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib import import_module
from typing import IO, Any

import django


class Worker:
    """One such process.

    Attributes:
        cpu: the seconds of processor time that it took for what it was told.
    """

    def __init__(self, role: str, *, settings: str = "bench.settings", **options: Any) -> None:
        """Start it, and wait until it is ready.

        Args:
            role: the class of the object that does what it is told, as `module:Class`.
            settings: the module of Django's settings.
            options: for the class.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.workers", role, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"DJANGO_SETTINGS_MODULE": settings},
        )
        self.cpu = 0.0
        self.answer()

    def tell(self, what: str, *args: Any) -> None:
        """Have it call a method; `answer` tells what came of it."""
        stdin = _stream(self._process.stdin)
        stdin.write(json.dumps([what, *args]) + "\n")
        stdin.flush()

    def answer(self) -> Any:
        """Wait for what the last method returned."""
        line = _stream(self._process.stdout).readline()
        if not line:
            raise RuntimeError("A worker of the benchmark ended: see its error above.")
        answer = json.loads(line)
        self.cpu += answer["cpu"]
        return answer["result"]

    def ask(self, what: str, *args: Any) -> Any:
        """Have it call a method, and return what that returned."""
        self.tell(what, *args)
        return self.answer()

    def close(self) -> None:
        """End it."""
        _stream(self._process.stdin).close()
        self._process.wait(timeout=60)
        _stream(self._process.stdout).close()


def close_all(workers: Iterable[Worker]) -> None:
    """End them all."""
    for worker in workers:
        worker.close()


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def main(role: str, options: str) -> None:
    """Do what the lines of the standard input say, until there are no more."""
    django.setup()
    module, _, name = role.partition(":")
    does = getattr(import_module(module), name)(**json.loads(options))
    _say(None, time.process_time())
    for line in sys.stdin:
        what, *args = json.loads(line)
        began = time.process_time()
        _say(getattr(does, what)(*args), began)


def _say(result: Any, began: float) -> None:
    sys.stdout.write(json.dumps({"result": result, "cpu": time.process_time() - began}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
