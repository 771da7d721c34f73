"""A broker's address in the environment that Celery, which reads it itself, does not know."""

import pytest

from tests.foreign.project import ForeignProject


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("redis-sentinel://:s3cret@127.0.0.1:26379/mymaster/1", "No such transport: redis-sentinel"),
        ("redis://:s3cret/unescaped@127.0.0.1/1", "he broker's address cannot be parsed"),
    ],
)
def test_broker_of_the_environment__that_celery_cannot_use(foreign: ForeignProject, address: str, why: str) -> None:
    foreign.environment["CELERY_BROKER_URL"] = address
    said = foreign.manage("warm_cache")  # in its own process
    assert why in said
    doctor = " ".join(foreign.check().split())
    assert why in doctor
    assert "FAILED" not in doctor.upper().replace("BROKER FAILED", "")
    assert "Celery itself reads this variable of the environment" in doctor
    assert "s3cret" not in said + doctor
