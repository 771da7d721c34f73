"""Make each mutation in a copy of the project and run its tests: see `script/mutate`."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ROOT, run

TESTS_FAILED = 1
"""The status of pytest when tests failed. A module that cannot be imported, or no test, is another."""

EVERYTHING = ("tests", "--ignore=tests/system", "--ignore=tests/mutations")


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One fault: a string that occurs exactly once in its file, and its replacement."""

    name: str
    fault: str
    file: str
    text: str
    replacement: str
    tests: tuple[str, ...]  # that must catch it, as few and as quick as possible
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


def main() -> int:
    known = {mutation.name: mutation for mutation in Mutation.load_all()}
    arguments = _parse(known)
    chosen = [known[name] for name in arguments.names or known]
    if arguments.list:
        for each in chosen:
            print(f"{each.name:34} {each.fault}")
        return 0
    problems = [problem for each in chosen if (problem := each.problem())]
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as with Ctrl-C, the copy is removed
    with tempfile.TemporaryDirectory(prefix="warmer-mutate-") as name:
        folder = Path(name)
        _copy(folder)
        if not _passes_unchanged(folder, chosen):
            return 2
        caught = [_is_caught(folder, each, all_tests=arguments.all_tests) for each in chosen]
    print(f"caught {sum(caught)} of {len(caught)}")
    return 0 if all(caught) else 1


def _parse(known: Iterable[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/mutate", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these mutations")
    parser.add_argument("--list", action="store_true", help="print the mutations and exit")
    parser.add_argument("--all-tests", action="store_true", help="run the whole suite on each that survives")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in known]:
        parser.error(f"unknown: {', '.join(unknown)}; see script/mutate --list")
    return arguments


def _copy(folder: Path) -> None:
    """Copy the files that git knows, as they are now."""
    listed = run("git", "ls-files", "-z")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def _passes_unchanged(folder: Path, mutations: Iterable[Mutation]) -> bool:
    """Run the named tests on the unchanged copy; print what fails."""
    named: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for each in mutations:
        named[each.database, each.capture] |= dict.fromkeys(each.tests)
    for (database, capture), tests in named.items():
        done = _pytest(folder, tests, database=database, capture=capture)
        if done.returncode:
            print(f"{done.stdout}{done.stderr}\nThe tests do not pass without a mutation.", file=sys.stderr)
            return False
    return True


def _is_caught(folder: Path, mutation: Mutation, *, all_tests: bool) -> bool:
    """Make a mutation, run its tests and print what became of it."""
    mutation.apply(folder)
    options = {"database": mutation.database, "capture": mutation.capture}
    done = _pytest(folder, mutation.tests, **options)
    if all_tests and not done.returncode:
        done = _pytest(folder, EVERYTHING, **options)
    mutation.undo(folder)
    failed = re.search(r"^FAILED (.+?)(?: - .*)?$", done.stdout, flags=re.M)
    if done.returncode == TESTS_FAILED and failed:
        print(f"{mutation.name:34} caught by {failed[1]}", flush=True)
        return True
    if done.returncode == 0:
        print(f"{mutation.name:34} SURVIVED: {mutation.fault}", flush=True)
    else:
        print(f"{done.stdout}{done.stderr}", file=sys.stderr)
        print(f"{mutation.name:34} NO VERDICT: no test failed, pytest ended with {done.returncode}", flush=True)
    return False


def _pytest(folder: Path, tests: Iterable[str], *, database: str, capture: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:randomly", "--timeout=120"]
    env = os.environ | {"WARMER_CAPTURE": capture}
    return run(*command, f"--database={database}", *tests, cwd=folder, env=env, seconds=86_400)


if __name__ == "__main__":
    sys.exit(main())
