"""The rights that warmer needs of a server: no fewer, no more; and what the doctor says without them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from tests.package.doctor.sentinels import Sentinel
from tests.package.doctor.support import PAGE, PASSWORD, Examine, Serve, cache_entry, expect, limited
from warmer import warm_many
from warmer.doctor.checks.connection import LEAST_RIGHTS
from warmer.filling import read_counters
from warmer.monitoring.observation import observe
from warmer.stores import incarnation_of


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("own_jobs")
def test_least_rights__are_what_jobs_need(serve: Serve, settings: Any) -> None:
    server, ids = serve(), [1, 2, 3, 4]
    where = limited(server, f"resetkeys ~site:* ~{{site:* -@all {LEAST_RIGHTS}").removesuffix("/0")
    settings.CACHES = {**settings.CACHES, "other": cache_entry(f"{where}/1") | {"KEY_PREFIX": "site"}}
    settings.WARMER_FENCE_RECORDS = 2

    limits: Any = {"negative_timeout": 60, "refresh_below": 0.5, "max_batches_per_second": 1000, "batch_size": 2}

    @warm_many("thing:{id}", ids=lambda: ids, cache="other", every=timedelta(minutes=1), **limits)
    def things(ids: Any) -> dict[int, str]:
        return {id: f"thing {id}" for id in ids if id != 4}

    with server.client() as client:
        client.config_resetstat()
        assert things.warm().written == 3
        assert things.warm(only_missing=True).skipped == 3
        for id in (1, 2, 3):
            things.invalidate([id])
        assert things.get_many([1, 2, 4]) == {1: "thing 1", 2: "thing 2"}
        read_counters.flush()
        observe(things.spec)
        ids.remove(3)
        assert observe(things.spec)
        call_command("cache_audit", "things")
        incarnation_of("other")
        things.invalidate()
        used = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
        refused = {each["object"] for each in client.acl_log()}
    rights = {each.removeprefix("+") for each in LEAST_RIGHTS.split()}
    # redis-py tells its name, and needs no answer. INFO tells the server's own id, which is done without.
    assert refused <= {"client|setinfo", "info"}
    # What is left forgets records that are an hour old.
    assert rights - used == {"zrevrangebyscore"}
    assert f"ACL SETUSER app on >PASSWORD ~* {LEAST_RIGHTS}" in " ".join(PAGE.split())


@pytest.mark.parametrize(
    "rights", ["-@scripting", "-time", "-eval", "-zadd", "-scan", "-unlink", "resetkeys ~:1:*", "-@all +ping"]
)
def test_writes__a_right_is_missing(examine: Examine, serve: Serve, rights: str) -> None:
    found = examine("writes", limited(serve(), rights))
    assert (found.severity, found.fix.splitlines()[0]) == ("error", f"ACL SETUSER app ~* {LEAST_RIGHTS}")


@pytest.mark.parametrize("command", ["EVALSHA", "EVAL", "TIME"])
def test_writes__a_command_was_renamed(examine: Examine, serve: Serve, command: str) -> None:
    expect(examine("writes", serve(**{f"rename-command {command}": ""})), "error", advises="'rename-command'")


def test_reachability__sentinels_require_a_password(examine: Examine, serve: Serve, tmp_path: Path) -> None:
    with Sentinel(folder=tmp_path, master=serve().port, name="guarded", password=PASSWORD) as sentinel:
        where = cache_entry(f"redis-sentinel://127.0.0.1:{sentinel.port}/guarded")
        fix = 'CACHES["other"]["OPTIONS"]["SENTINEL_KWARGS"] = {"password": "PASSWORD"}\n'
        expect(examine("reachability", where), "error", fix=fix)
