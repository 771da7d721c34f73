"""The page as a whole: nothing on it was made by hand but the prose."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.project.operations.page import BLOCK, PATH
from tests.support.processes import ROOT

PAGE = PATH.read_text()
ALERTS = [
    rule["alert"]
    for group in YAML(typ="safe").load(ROOT / "deploy" / "alerts.yml")["groups"]
    for rule in group["rules"]
]


def test_blocks__are_those_of_the_tests() -> None:
    tested: list[str] = []
    for path in Path(__file__).parent.glob("test_*.py"):
        tested += re.findall(r'page\.shows\(\s*"([\w-]+)"', path.read_text())
    begun = re.findall(r"<!-- fault: ([\w-]+): begin -->", PAGE)
    assert sorted(begun) == sorted(tested)
    for name in begun:
        assert len(re.findall(BLOCK.format(name=name), PAGE, flags=re.S)) == 1, name


def test_output__is_in_blocks_only() -> None:
    rest = re.sub(BLOCK.format(name=r"[\w-]+"), "", PAGE, flags=re.S)
    opened = re.findall(r"^```(\w*)\n.*?^```$", rest, flags=re.M | re.S)
    assert set(opened) <= {"sh", "python"}


@pytest.mark.parametrize("alert", ALERTS)
def test_alert__has_its_place(alert: str) -> None:
    assert f"| `{alert}` |" in PAGE


def test_alerts__exist() -> None:
    assert set(re.findall(r"`(Warmer[A-Z]\w+)`", PAGE)) - {"WarmerCollector"} <= set(ALERTS)
