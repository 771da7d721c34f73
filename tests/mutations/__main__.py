"""Make each mutation in a copy of the project and run its tests: see `script/mutate`."""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.mutations.catalogue import Mutation
from tests.support.processes import ROOT, run

TESTS_FAILED = 1
"""The status of pytest when tests failed. A module that cannot be imported, or no test, is another."""

EVERYTHING = ("tests", "--ignore=tests/system", "--ignore=tests/mutations")


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
