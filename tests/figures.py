"""The figures that the layout is measured by, each beside its budget: `script/figures`."""

import argparse
import os
import sys
import threading
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from bench.site import running_site

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "warmer"

# What stands at the top of `warmer/`, wing by wing from the top down, and the lines of each at most.
WINGS = {
    "apps checks testing urls views": 500,
    "admin management templatetags": 1_700,
    "doctor": 1_600,
    "schedule": 450,
    "tasks": 550,
    "monitoring": 1_500,
    "api": 400,
    "runs": 850,
    "filling": 1_000,
    "invalidation": 1_900,
    "models": 400,
    "declarations": 700,
    "stores": 2_000,
    "serializers": 400,
    "__init__ keys report conf context exceptions signals failpoints humanize": 450,
}
FOLDERS = {"warmer": 13_500, "tests": 24_000, "embedded": 1_200, "bench": 2_200}

Step = Callable[[], object]
seen: set[str] = set()


class Line(NamedTuple):
    """A figure with its budget, and what it is made of."""

    name: str
    figure: int
    budget: int
    parts: Iterable[str] = ()


def main(arguments: list[str]) -> int:
    """Print the figures; return the exit code."""
    parser = argparse.ArgumentParser(prog="script/figures", description="Measure the layout by its budgets.")
    parser.add_argument("--check", action="store_true", help="exit 1 when a budget is exceeded")
    options = parser.parse_args(arguments)
    over = 0
    for title, lines in (("lines of Python", sizes()), ("layout", layout()), ("files on a path", paths())):
        print(f"\n{title:60}{'is':>8}{'at most':>9}")
        for line in lines:
            is_over = line.figure > line.budget
            over += is_over
            print(f"  {line.name:58}{line.figure:8,}{line.budget:9,}{'  over' if is_over else ''}")
            for part in line.parts:
                print(f"    {part}")
    print(f"\n{over} over budget")
    return 1 if options.check and over else 0


def sizes() -> list[Line]:
    """Return the lines of each wing, and of whole folders."""
    left: Counter[str] = Counter()
    for path, lines in modules("warmer").items():
        left[path.relative_to(PACKAGE).parts[0].removesuffix(".py")] += lines
    wings = [Line(wing, sum(left.pop(name, 0) for name in wing.split()), WINGS[wing]) for wing in WINGS]
    folders = [Line(f"{name}/", sum(modules(name).values()), FOLDERS[name]) for name in FOLDERS]
    return [*wings, Line("in no wing", left.total(), 0, left), *folders]


def layout() -> list[Line]:
    """Return the files at the top of `warmer/`, its largest file, and its import layers."""
    lines, largest = max((lines, path) for path, lines in modules("warmer").items())
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (each["layers"] for each in linter["contracts"] if each["type"] == "layers")
    return [
        Line("files at the top of warmer/", len(list(PACKAGE.glob("*.py"))), 15),
        Line(f"largest file: {largest.relative_to(ROOT)}", lines, 300),
        Line("import layers", len(layers), 15),
    ]


def modules(folder: str) -> dict[Path, int]:
    """Return the Python files of a folder, without migrations, each with its number of lines."""
    files = (path for path in (ROOT / folder).rglob("*.py") if "migrations" not in path.parts)
    return {path: len(path.read_text().splitlines()) for path in files}


def paths() -> list[Line]:
    """Return the files that each path passes through: the project's profiles, on Redis and SQLite."""
    os.environ["WARMER_CAPTURE"] = "triggers"
    with running_site():
        from django.core.cache import cache
        from django.db import transaction

        from users.models import CustomUser
        from users.warming import user_profiles

        user = CustomUser.objects.create(username="ada")
        key = f"user:{user.pk}:profile"
        read = partial(user_profiles.get, user.pk)

        def save() -> None:
            user.activity += 1
            with transaction.atomic():
                user.save()

        found = [
            passed("a read that hits", 7, read, before=read),
            passed("a read that misses", 12, read, before=partial(cache.delete, key)),
            passed("job.warm()", 13, user_profiles.warm, before=partial(cache.delete, key)),
            passed("a save in atomic, with triggers", 12, save, before=read),
        ]
        assert cache.get(key) is None, "the save did not invalidate the profile"
        return found


def passed(name: str, budget: int, step: Step, *, before: Step) -> Line:
    """Return the files of the second time that a step is taken: the first one imports and connects."""
    threading.setprofile(see)
    for _ in range(2):
        before()
        seen.clear()
        sys.setprofile(see)
        step()
        sys.setprofile(None)
    return Line(name, len(seen), budget, sorted(seen))


def see(frame: FrameType, event: str, _: object) -> None:
    """Note the file that holds a function that is called, in any thread."""
    file = Path(frame.f_code.co_filename)
    if event == "call" and PACKAGE in file.parents:
        seen.add(str(file.relative_to(PACKAGE)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
