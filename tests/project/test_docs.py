"""What the docs say is what ships."""

import re
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from warmer import failpoints
from warmer.conf import Settings
from warmer.declarations.options import ManyOptions
from warmer.declarations.registry import Registry
from warmer.models import State
from warmer.report import Outcome

GUIDE = (ROOT / "docs/guide.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "warmer/README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]


def test_settings__are_all_documented_and_no_others() -> None:
    exist = {f"WARMER_{name}" for name in vars(Settings) if name.isupper()}
    assert set(re.findall(r"^\| `(WARMER_\w+)`", GUIDE, flags=re.M)) == exist


def test_options__are_all_documented_and_no_others() -> None:
    rows = GUIDE.partition("| option |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", rows, flags=re.M)) == set(ManyOptions.__annotations__)


def test_system_checks__are_all_documented_and_no_others() -> None:
    code = "".join(path.read_text() for path in (ROOT / "warmer").rglob("*.py"))
    exist = set(re.findall(r'"(warmer\.[EW]\d{3})"', code))
    assert set(re.findall(r"^\| `(warmer\.\w+)`", GUIDE, flags=re.M)) == exist


@pytest.mark.parametrize("word", [*Outcome, *State.values, *failpoints.NAMES])
def test_words__are_in_the_guide(word: str) -> None:
    assert f"`{word}`" in GUIDE


def test_readme__example_can_be_pasted(empty_registry: Registry) -> None:
    example, use = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    module = {"__name__": "blog.warming"}
    exec(example, module)
    assert [str(spec.key) for spec in empty_registry.specs()] == ["user:{id}:profile"]
    assert "user_profiles.get(42)" in use


def test_package__names_no_file_that_it_does_not_ship() -> None:
    # Whoever installed the wheel has neither the docs nor this project.
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."} - {"warmer"}
    named = re.compile(rf"(?<![\w./-])(?:{'|'.join(folders)})/\w[\w./-]*")
    found = {
        f"{path.relative_to(ROOT)} names {name}"
        for path in (ROOT / "warmer").rglob("*")
        if path.suffix in {".py", ".html", ".js", ".css", ".lua", ".sql", ".md"}
        for name in named.findall(path.read_text())
    }
    assert found == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links__lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
        if "://" not in target:
            linked = page.parent / target if target else page
            assert linked.exists(), target
            assert not anchor or anchor in _anchors(linked), f"{target}#{anchor}"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.M)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests__that_a_page_names_exist(page: Path) -> None:
    named = set(re.findall(r"`(tests/[\w/]+(?:\.py)?|test_\w+\.py)`", page.read_text()))
    for name in named:
        assert (ROOT / name).exists() or [*ROOT.glob(f"tests/**/{name}")], name
    assert named or page.name not in {"guarantees.md", "faults.md", "security.md"}
