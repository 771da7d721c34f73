"""The oldest versions that the wheel's metadata allows: pip keeps them, and they work."""

import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tests.foreign.project import ForeignProject
from tests.foreign.venv import EXTRAS, built_wheel, install


def test_oldest_versions__warm_on_a_worker(foreign: ForeignProject, tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    install(sys.executable, "-m", "venv", tmp_path / "venv")
    with built_wheel(foreign.python) as wheel:
        install(python, "-m", "pip", "install", f"{wheel}[{EXTRAS}]", *_oldest(wheel))
    old = replace(foreign, python=python)

    assert "no issues" in old.manage("check")
    old.manage("migrate")
    old.run("from people.models import Person; Person.objects.create(name='Ada')")
    with old.worker():
        old.manage("warm_cache", "--workers")
        assert "  failed " not in old.manage("cache_doctor")
    assert old.run("from people.warming import names; result = names.get()") == ["Ada"]
    assert old.run("import celery; result = celery.__version__") == "5.4.0"


def _oldest(wheel: Path) -> list[str]:
    """Return a pin of each lower bound."""
    [found] = metadata.distributions(path=[str(wheel)])
    asked = [Requirement(each) for each in found.requires or ()]
    bounds = {each.name: bound for each in asked for bound in each.specifier if bound.operator == ">="}
    return [f"{name}=={bound.version}" for name, bound in bounds.items()]
