"""What `script/server` would run, for a given environment."""

from pathlib import Path

import pytest

from embedded.plan import ROOT, project_plan


def test_plan__defaults() -> None:
    plan = project_plan({})
    assert plan.address == "http://127.0.0.1:8000/"
    assert plan.data_dir == ROOT / ".data"
    assert [service.name for service in plan.services] == ["worker", "beat", "web"]
    policies = {server.name: server.options["maxmemory-policy"] for server in plan.servers}
    assert policies == {"cache": "allkeys-lru", "broker": "noeviction"}


@pytest.mark.parametrize(
    ("host", "address", "bind"),
    [("0.0.0.0", "http://127.0.0.1:9001/", "0.0.0.0:9001"), ("::1", "http://[::1]:9001/", "[::1]:9001")],
)
def test_plan__of_the_environment(tmp_path: Path, host: str, address: str, bind: str) -> None:
    plan = project_plan({"HOST": host, "PORT": "9001", "WARMER_DATA_DIR": str(tmp_path)})
    assert plan.address == address
    assert bind in plan.services[-1].words
    assert plan.environment["WARMER_DATA_DIR"] == str(tmp_path)
