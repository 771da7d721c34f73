"""Fixtures of the unit tests: a registry to declare jobs in, and a Python without a Django."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from tests.jobs import empty_registry, registry  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent.parent

# A busy machine is slow, which says nothing about the code.
hypothesis.settings.register_profile("unit", deadline=None)
hypothesis.settings.load_profile("unit")

Python = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def python(tmp_path: Path) -> Python:
    """Return a function that runs code in a new interpreter, with the environment that it is given."""

    def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        # Nothing of the test run's own settings, and no data of the developer's.
        clean = {"PATH": os.environ["PATH"], "WARMER_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env=clean | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
