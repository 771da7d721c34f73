"""The oldest versions that the wheel's metadata allows: pip keeps them, and they work."""

import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tests.foreign.project import ForeignProject
from tests.foreign.venv import EXTRAS, built_wheel, install, pip


def test_oldest_versions__warm_on_a_worker(foreign: ForeignProject, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    install(sys.executable, "-m", "venv", "--without-pip", venv)
    pip("--python", venv, "install", f"{built_wheel()}[{EXTRAS}]", *_oldest())
    old = replace(foreign, python=venv / "bin" / "python")

    assert "no issues" in old.manage_each("check", "migrate")[0]
    old.run("from people.models import Person; Person.objects.create(name='Ada')")
    with old.worker():
        old.manage("warm_cache", "--workers")
        assert "  failed " not in old.manage("cache_doctor")
    told = old.run("import celery; from people.warming import names; result = [names.get(), celery.__version__]")
    assert told == [["Ada"], "5.4.0"]


def _oldest() -> list[str]:
    [found] = metadata.distributions(path=[str(built_wheel())])
    asked = [Requirement(each) for each in found.requires or ()]
    bounds = {each.name: bound for each in asked for bound in each.specifier if bound.operator == ">="}
    return [f"{name}=={bound.version}" for name, bound in bounds.items()]
