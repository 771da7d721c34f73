"""Projects with `USE_TZ = False`, west and east of Greenwich: the times of the database are local ones."""

import re

import pytest

from tests.foreign.project import ASKING, ForeignProject

SETTINGS = """
USE_TZ = False
TIME_ZONE = CELERY_TIMEZONE = "{zone}"
DJANGO_CELERY_BEAT_TZ_AWARE = False
WARMER_METRICS = WARMER_READY_REQUIRES_WARM = True
WARMER_READY_WARM_SINCE = "2026-01-01T00:00:00+00:00"
"""
JOB = """
@warm("ticks", every=timedelta(seconds=1), required=True)
def ticks():
    return True
"""
BEGIN = """
from django.contrib.auth.models import User
from django.core.management import call_command
call_command("migrate", verbosity=0)
User.objects.create_superuser("ada", password="x")
call_command("warm_cache", "--inline")
"""
ASK = """
from warmer.invalidation import backlog
from warmer.models import ChangeRecord

found = pages(User.objects.get(), job="/admin/warmer/job/ticks/change/")
result = {
    "warm": output("warm_cache", "--workers"),
    "doctor": output("cache_doctor"),
    "stats": output("cache_stats"),
    "schedule": output("warm_schedule"),
    "status": {name: page.status_code for name, page in found.items()},
    "checks": [message.id for message in run_checks()],
}
ChangeRecord.objects.create(key="names")
result["age"] = backlog().age.total_seconds()
with override_settings(DJANGO_CELERY_BEAT_TZ_AWARE=True):
    result["unset"] = [message.id for message in run_checks()]
"""
# Without beat, which saves whole rows and so may undo a change that is made meanwhile.
SWITCH = """
from django.utils import timezone
from people.warming import ticks
from warmer.schedule import entry_of, switch
switched = []
for on in (False, True):
    switch(ticks.spec, on=on)
    switched.append(entry_of(ticks.spec).enabled)
result = [switched, (entry_of(ticks.spec).due() - timezone.now()).total_seconds()]
"""


@pytest.mark.parametrize(("zone", "vendor"), [("America/New_York", "sqlite"), ("Asia/Shanghai", "postgresql")])
def test_use_tz__is_off(foreign: ForeignProject, request: pytest.FixtureRequest, zone: str, vendor: str) -> None:
    foreign.settings(SETTINGS.format(zone=zone))
    if vendor == "postgresql":
        request.getfixturevalue("on_postgresql")
    foreign.add("people/warming.py", JOB)
    foreign.run(BEGIN)
    with foreign.worker("-B") as worker:
        seen = foreign.run(ASKING + ASK)
        worker.wait_for("of ticks (schedule): complete")
    switched, due = foreign.run(SWITCH)
    assert switched == [False, True]
    assert set(seen["status"].values()) == {200}
    assert "complete" in seen["warm"]
    for command in ("warm", "doctor", "stats", "schedule"):
        assert not re.search(r"^exit \d", seen[command], flags=re.M), seen[command]
    # SQLite has no clock of its own.
    assert ("skipped  clock-skew" if vendor == "sqlite" else "ok       clock-skew") in seen["doctor"]
    assert -600 < due < 600
    assert 0 <= seen["age"] < 600
    assert "warmer.E006" not in seen["checks"]
    assert "warmer.E006" in seen["unset"]
