"""The fixture `golden`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import conftest


def test_golden__compares_masks_and_rewrites(
    golden: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    monkeypatch.setattr(conftest, "GOLDEN", tmp_path)
    monkeypatch.setattr(pytestconfig.option, "write_golden", False)
    with pytest.raises(AssertionError, match="--write-golden"):
        golden("page", "took 3 ms \n")
    monkeypatch.setattr(pytestconfig.option, "write_golden", True)
    golden("page", "took 3 ms \n", masks={r"\d+ ms": "N ms"})
    assert (tmp_path / "page.txt").read_text() == "took N ms\n"
    monkeypatch.setattr(pytestconfig.option, "write_golden", False)
    golden("page", "took 4 ms\n", masks={r"\d+ ms": "N ms"})
    with pytest.raises(AssertionError, match="--write-golden"):
        golden("page", "fails")
