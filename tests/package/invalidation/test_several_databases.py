"""Several databases: each has its own transactions and its own records."""

import os
import sys
from pathlib import Path

from tests.support.processes import run

PACKAGE = "tests.package.invalidation.two_databases"


def test_databases__have_transactions_and_records_of_their_own(tmp_path: Path) -> None:
    variables = {"DJANGO_SETTINGS_MODULE": f"{PACKAGE}.settings", "TWO_DATABASES": str(tmp_path)}
    done = run(sys.executable, "-m", PACKAGE, env=os.environ | variables)
    assert done.returncode == 0, done.stderr
