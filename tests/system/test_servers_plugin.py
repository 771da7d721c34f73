"""The plugin that starts the suite's servers: whole runs of pytest, on a small test file."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, run
from tests.system.supervised import clean_environment

PROBE = """
import os
import pytest
from django.core.cache import cache
from django.db import connection
from myapp.models import Post

@pytest.mark.parametrize("number", range(4))
@pytest.mark.django_db
def test_probe(number, redis_client):
    assert redis_client.keys() == []
    cache.set("left", "for the next test")
    assert len(redis_client.keys()) == 1
    assert Post.objects.count() == 0
    name = connection.settings_dict["NAME"]
    print("PROBE", connection.vendor, name, os.environ["REDIS_URL"], os.environ["CELERY_BROKER_URL"])

def test_probe_stops_the_server(redis_server, redis_client):
    redis_server.kill()
    with pytest.raises(Exception):
        redis_client.ping()
"""
SEEN = re.compile(r"PROBE (\S+) (\S+) (\S+) (\S+)")


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    file = tmp_path / "test_probe.py"
    file.write_text(PROBE)
    return file


def run_pytest(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    # The file is not below tests/, so the fixtures there are named here.
    options = ("-c", ROOT / "pyproject.toml", "-p", "tests.conftest", "-rA")
    env = clean_environment(**environment)
    return run(sys.executable, "-m", "pytest", *options, *arguments, env=env, seconds=300)


def test_two_processes__servers_of_their_own_whatever_the_environment_names(probe: Path) -> None:
    elsewhere = "redis://example.invalid:1/0"
    done = run_pytest(
        probe,
        *("-n", "2", "--database=postgresql", "--no-migrations"),
        REDIS_URL=elsewhere,
        CELERY_BROKER_URL=elsewhere,
        DATABASE_URL="postgresql://nobody@127.0.0.1:1/precious",
        DJANGO_ENV="production",
    )
    assert done.returncode == 0, done.stdout
    seen = SEEN.findall(done.stdout)
    assert len(seen) == 4
    for vendor, _, cache, broker in seen:
        assert vendor == "postgresql"
        assert cache.endswith("/0")
        assert broker.endswith("/1")
        assert elsewhere not in (cache, broker)
    used = {(name, cache) for _, name, cache, _ in seen}
    assert {name for name, _ in used} == {"test_warmer_gw0", "test_warmer_gw1"}
    assert len(used) == len({cache for _, cache in used}) == 2
    assert re.search(r"^servers: (Valkey|Redis) [\d.]+, PostgreSQL [\d.]+$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(("arguments", "variable"), [([], "REDIS_SERVER"), (["--database=postgresql"], "POSTGRES_BIN")])
def test_missing_server__the_run_fails_at_once_and_says_what_to_do(
    probe: Path, arguments: list[str], variable: str
) -> None:
    done = run_pytest(probe, *arguments, **{variable: "/nowhere"})
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"{variable} is '/nowhere'" in done.stderr
    assert "unset it" in done.stderr
    assert "PROBE" not in done.stdout
