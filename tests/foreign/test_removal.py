"""The guide's "Remove warmer", word for word: nothing of it is left in the database."""

import re
from pathlib import Path

import pytest

from tests.foreign.project import ForeignProject
from tests.support.processes import run

GUIDE = (Path(__file__).parents[2] / "docs/guide.md").read_text()
USE = """
    from django.contrib.auth.models import User
    from people.models import Person
    from people.warming import names
    User.objects.create_superuser("ada")
    Person.objects.create(name="Ada")
    result = [names.get(), names.warm().written]
    """
# Rows of the project's tables and of the database's catalog that contain the name.
LEFT = """
    from django.db import connection
    catalog = {"postgresql": ["pg_class", "pg_proc", "pg_trigger"], "sqlite": ["sqlite_master"]}
    result = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names() + catalog[connection.vendor]:
            cursor.execute(f"SELECT * FROM {table}")
            result += [f"{table}: {row}" for row in cursor.fetchall() if "warmer" in repr(row)]
    """


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_removal__leaves_nothing_in_the_database(
    database: str, foreign: ForeignProject, request: pytest.FixtureRequest
) -> None:
    if database == "postgresql":
        request.getfixturevalue("on_postgresql")
        foreign.manage("migrate")
    assert foreign.run(USE) == [["Ada"], 1]
    assert foreign.run(LEFT)

    part = GUIDE.partition("## Remove warmer\n")[2].partition("\n## ")[0]
    with_it, without_it = re.findall(r"^```sh\n(.*?)^```$", part, flags=re.M | re.S)
    _type(foreign, with_it)
    (foreign.folder / "people/warming.py").unlink()
    _delete(foreign, "mysite/urls.py", r', path\("", include\("warmer.urls"\)\)')
    _delete(foreign, "mysite/settings.py", r'    "warmer",\n|    "warm": .*\n|WARMER_.*\n')
    assert "no issues" in foreign.manage("check")
    _type(foreign, without_it)
    assert foreign.run(LEFT) == []
    assert "No migrations to apply" in foreign.manage("migrate")


def _type(foreign: ForeignProject, lines: str) -> None:
    """Run lines of the shell in the project's folder and venv; confirm what they ask."""
    environment = foreign.environment | {"PATH": f"{foreign.python.parent}:/usr/bin:/bin"}
    done = run("sh", "-c", f"yes yes | (set -e\n{lines})", cwd=foreign.folder, env=environment)
    assert done.returncode == 0, f"{lines}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"


def _delete(foreign: ForeignProject, name: str, pattern: str) -> None:
    text = (foreign.folder / name).read_text()
    assert re.search(pattern, text)
    foreign.write(name, re.sub(pattern, "", text))
