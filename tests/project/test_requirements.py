"""The pinned requirements: what `pyproject.toml` asks for, whole, and nothing of one machine."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.processes import ROOT

PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]
GROUPS: dict[str, list[str]] = PYPROJECT["dependency-groups"]
PACKAGE: list[str] = PYPROJECT["project"]["dependencies"]

# A name, one exact version, and perhaps where it is needed: no address, path, option or comment.
PIN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*==\d[\w.]*( ; [\w <>=!.'()]+)?")
PRODUCTION = [*PACKAGE, *(each for extra in EXTRAS.values() for each in extra), *GROUPS["project"]]
FILES = {"requirements.txt": PRODUCTION, "requirements-dev.txt": [*PRODUCTION, *GROUPS["dev"]]}


def lines(file: str) -> list[str]:
    return (ROOT / file).read_text().splitlines()


def pins(file: str) -> dict[str, Requirement]:
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, lines(file))}


def version(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    return specifier.version


def needed(requirements: Iterable[str]) -> Iterator[Requirement]:
    """Yield requirements and theirs in turn, as they hold for this Python."""
    ahead = [Requirement(each) for each in requirements]
    seen: set[str] = set()
    while ahead:
        requirement = ahead.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        yield requirement
        for each in map(Requirement, metadata.requires(requirement.name) or ()):
            extras = requirement.extras or {""}
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras | {""}):
                ahead.append(each)


@pytest.mark.parametrize("file", FILES)
def test_requirements__each_package_is_pinned_once_in_order(file: str) -> None:
    assert [line for line in lines(file) if not PIN.fullmatch(line)] == []
    assert (ROOT / file).read_text().endswith("\n")
    names = [line.split("==")[0] for line in lines(file)]
    assert names == sorted(set(names))


@pytest.mark.parametrize("file", FILES)
def test_requirements__pin_what_the_project_asks_for_and_what_that_needs(file: str) -> None:
    pinned = pins(file)
    for asked in map(Requirement, FILES[file]):
        pin = pinned.get(canonicalize_name(asked.name))
        assert pin is not None, f"{file} does not pin {asked.name}: compile it again"
        assert asked.specifier.contains(version(pin)), f"{file} has {pin}, pyproject.toml asks for {asked}"
    assert {each.name for each in needed(FILES[file]) if canonicalize_name(each.name) not in pinned} == set()


def test_requirements__production_is_a_part_of_development_without_its_tools() -> None:
    assert set(lines("requirements.txt")) < set(lines("requirements-dev.txt"))
    production = pins("requirements.txt")
    asked = {canonicalize_name(Requirement(each).name) for each in FILES["requirements.txt"]}
    tools = {canonicalize_name(Requirement(each).name) for each in GROUPS["dev"]}
    assert not (tools - asked) & set(production)


def test_pyproject__the_package_asks_for_less_than_its_project() -> None:
    # What a user installs with the package is not held to the exact versions of this project.
    project = {canonicalize_name(each.name) for each in map(Requirement, GROUPS["project"])}
    asked = [*map(Requirement, [*PACKAGE, *(each for extra in EXTRAS.values() for each in extra)])]

    assert {canonicalize_name(each.name) for each in asked} - project == {"kombu"}  # which is Celery's
    for each in asked:
        assert "==" not in str(each.specifier)
        assert metadata.version(each.name) in each.specifier


def test_pyproject__extras_upper_bounds_and_the_oldest_python() -> None:
    # Extras are in the wheel's metadata; what only this project needs is in groups, which are not.
    assert set(EXTRAS) == {"redis", "beat", "metrics", "msgspec"}
    # What private API is used of has an upper bound.
    bounded = {each.name for each in map(Requirement, [*PACKAGE, *EXTRAS["redis"]]) if "<" in str(each.specifier)}
    assert bounded == {"celery", "django", "django-redis", "redis"}
    oldest = PYPROJECT["project"]["requires-python"].removeprefix(">=")
    declared = [each for each in PYPROJECT["project"]["classifiers"] if "Python :: 3." in each]
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == oldest
    assert declared[0].endswith(f":: {oldest}")
