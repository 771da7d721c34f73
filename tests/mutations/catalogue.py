"""The mutations: what each changes, and which tests must then fail."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ROOT


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One fault.

    Attributes:
        fault: what is wrong then, in words.
        file: the changed file, relative to the project.
        text: the text to replace, which the file has exactly once.
        tests: the pytest node ids that must catch it, as few and as quick as possible.
        database, capture: on which database and with which `WARMER_CAPTURE` these run.
    """

    name: str
    fault: str
    file: str
    text: str
    replacement: str
    tests: tuple[str, ...]
    database: str = "sqlite"
    capture: str = "triggers"

    @classmethod
    def load_all(cls) -> list[Mutation]:
        """Return all mutations in the order of the file."""
        text = Path(__file__).with_name("mutations.toml").read_text()
        return [cls(**entry | {"tests": tuple(entry["tests"])}) for entry in tomllib.loads(text)["mutation"]]

    def problem(self) -> str:
        """Return why this mutation no longer fits the code, and where its text is now; empty if it fits."""
        path = ROOT / self.file
        count = path.read_text().count(self.text) if path.is_file() else 0
        if count == 1:
            return ""
        found = [str(each.relative_to(ROOT)) for each in _sources() if self.text in each.read_text()]
        return (
            f"{self.name}: {self.file} has its text {count} times, not once; "
            f"found in: {', '.join(found) or 'no file, so write it anew'}"
        )

    def missing_tests(self) -> list[str]:
        """Return the tests of this mutation that no longer exist."""
        return [each for each in self.tests if not _exists(each)]

    def apply(self, folder: Path) -> None:
        """Change the file in a copy of the project."""
        self._write(folder, (ROOT / self.file).read_text().replace(self.text, self.replacement))

    def undo(self, folder: Path) -> None:
        """Change the file back."""
        self._write(folder, (ROOT / self.file).read_text())

    def _write(self, folder: Path, text: str) -> None:
        path = folder / self.file
        path.write_text(text)
        # Python takes compiled code for current if the second of the change and the size are the same.
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
            compiled.unlink()


def _sources() -> Iterable[Path]:
    return sorted(path for kind in ("*.py", "*.lua", "*.sql") for path in (ROOT / "warmer").rglob(kind))


def _exists(test: str) -> bool:
    file, _, name = test.partition("::")
    if not (ROOT / file).is_file():
        return False
    function = name.rpartition("::")[2].partition("[")[0]
    # A test that a class inherits is in another file of the folder.
    files = [ROOT / file] if "::" not in name else (ROOT / file).parent.glob("*.py")
    return any(re.search(rf"def {function}\(", each.read_text()) for each in files)
