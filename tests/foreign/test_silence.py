"""Workers that do not answer, and work all the same."""

import json

from embedded.waiting import wait_until
from tests.foreign.project import ForeignProject

BLOCKING_LOADER = """
    from pathlib import Path
    from time import monotonic, sleep

    @warm("blocking")
    def blocking():
        Path("loading").touch()
        until = monotonic() + 60
        while not Path("release").exists() and monotonic() < until:
            sleep(0.05)
        return 1
    """


def workers_of(doctor: str) -> dict[str, str]:
    report = json.loads(doctor[: doctor.rindex("}") + 1])
    (found,) = [each for each in report["findings"] if each["check"] == "workers"]
    return {name: found[name] for name in ("severity", "message")}


def test_worker_without_remote_control__takes_what_is_queued(foreign: ForeignProject) -> None:
    foreign.settings("CELERY_WORKER_ENABLE_REMOTE_CONTROL = False")
    foreign.add("people/warming.py", BLOCKING_LOADER)
    foreign.manage("migrate")
    assert "no issues" in foreign.manage("check")
    assert workers_of(foreign.manage("cache_doctor", "--json", status=1))["severity"] == "error"
    with foreign.worker("--pool", "solo") as worker:
        said = foreign.manage("warm_cache", "--workers", status=1)
        assert "no worker answered. Nothing was warmed." in said
        assert "queue the runs with --workers --no-wait" in said
        foreign.run("from warmer.tasks import request_run; request_run('blocking', 'admin')")
        wait_until((foreign.folder / "loading").exists, what="the worker is busy")
        said = foreign.manage("warm_cache", "people", "names", "--workers", "--no-wait")
        assert "The runs are queued, though no worker answered." in said
        found = workers_of(foreign.manage("cache_doctor", "--json"))
        assert (found["severity"], "no worker answered, but one worked" in found["message"]) == ("warning", True)
        (foreign.folder / "release").touch()
        worker.wait_for(" is complete: ", count=3)


def test_queue_length__with_a_prefix_of_the_broker(foreign: ForeignProject) -> None:
    foreign.settings("CELERY_BROKER_TRANSPORT_OPTIONS['global_keyprefix'] = 'site1:'\nWARMER_METRICS = True")
    metrics = foreign.run("""
        from django.test import Client
        from warmer.tasks import request_run
        for name in ("people", "names"):
            request_run(name, "admin")
        result = Client().get("/metrics").content.decode()
    """)
    assert 'warmer_queue_messages{queue="warming"} 2.0' in metrics
    assert "queue 'warming': 2 messages waiting" in foreign.manage("cache_doctor", status=1)  # nobody takes them
    assert "no issues" in foreign.manage("check")
