"""Several databases: each has its own transactions and its own records."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import run
from warmer.invalidation import captures_by_triggers

PACKAGE = "tests.package.invalidation.two_databases"


@pytest.fixture
def seen(tmp_path: Path) -> Any:
    """What the scenarios of the process saw, by their names."""
    variables = {"DJANGO_SETTINGS_MODULE": f"{PACKAGE}.settings", "TWO_DATABASES": str(tmp_path)}
    done = run(sys.executable, "-m", PACKAGE, env=os.environ | variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_databases__have_transactions_and_records_of_their_own(seen: Any) -> None:
    assert seen["listeners"] == {"default": True, "second": not captures_by_triggers()}
    assert seen["commit_of_its_own"] == {
        "cached inside": ["old"],  # for others, until the commit
        "read inside": ["new"],
        "kept inside": [0, 1],
        "cached after": None,
        "read after": ["new"],
        "kept after": [0, 0],
    }
    assert seen["other_transaction"] == {
        "cached inside": None,  # it was committed at once, and waits for no other transaction
        "read inside": ["new"],
        "cached after": None,
        "other": ["old"],  # as before
        "read": ["old"],
    }
    assert seen["both_at_once"] == {"rolled back": ["old"], "committed": None, "read": ["old"]}
    assert seen["added_without_triggers"] == {"cached after": None}
