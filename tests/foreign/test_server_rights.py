"""A cache server that does not let warmer's scripts run: the doctor says what mends it, and that does."""

from embedded.ports import LOOPBACK, free_port
from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.foreign.project import ForeignProject

READ_AND_SAVE = """
from people.models import Person
from people.warming import names
Person.objects.create(name="Ada")
first = names.get()
Person.objects.update(name="Bob")
from django.core.cache import caches
result = [first, names.get(), "names" in caches["warm"]]
"""

FAKE = """
    from fakeredis import FakeRedisConnection
    CACHES["warm"]["OPTIONS"] = {"CONNECTION_POOL_KWARGS": {"connection_class": FakeRedisConnection}}
    """


def found_by(check: str, foreign: ForeignProject) -> tuple[str, str]:
    """Return the severity of a check of the doctor, and its fix."""
    found = foreign.doctor()[check]
    return found["severity"], found["fix"]


def assert_works(foreign: ForeignProject) -> None:
    assert found_by("writes", foreign) == ("ok", "")
    assert foreign.run(READ_AND_SAVE) == [["Ada"], ["Bob"], True]
    foreign.manage("warm_cache", "--inline")


def assert_reported(foreign: ForeignProject, text: str) -> None:
    """Check that the doctor reports an error with this in its fix, and that reads and saves work uncached."""
    severity, fix = found_by("writes", foreign)
    assert (severity, text in fix) == ("error", True)
    assert foreign.run(READ_AND_SAVE) == [["Ada"], ["Bob"], False]
    assert "no issues" in foreign.manage("check")


def test_user_with_few_rights__until_the_fix_of_the_doctor(foreign: ForeignProject, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.execute_command("ACL SETUSER", "few", "on", ">pw", "~*", "-@all", "+ping", "+get", "+set")
        try:
            foreign.settings(f"CACHES['warm']['LOCATION'] = 'redis://few:pw@{LOOPBACK}:{redis_server.port}/0'")
            severity, fix = found_by("writes", foreign)
            assert severity == "error"
            assert "no issues" in foreign.manage("check")
            line = fix.splitlines()[0].split()
            assert line[:3] == ["ACL", "SETUSER", "few"]
            client.execute_command("ACL SETUSER", *line[2:])
            assert_works(foreign)
        finally:
            client.acl_deluser("few")


def test_cluster_mode__until_the_fix_of_the_doctor(foreign: ForeignProject) -> None:
    options = {"cluster-enabled": "yes", "cluster-port": str(free_port())}
    with RedisServer(options=options) as server, server.client() as client:
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", what="the cluster serves")
        foreign.settings(f"CACHES['warm']['LOCATION'] = '{server.url()}'")
        assert "warmer.W015" in foreign.manage("check", "--database", "default")
        severity, fix = found_by("reachability", foreign)
        assert severity == "error"
        assert "cluster mode" in fix
        assert "no issues" in foreign.manage("check")
        assert "warmer.W015" in foreign.manage("migrate")
        foreign.settings(fix.splitlines()[0])
        assert_works(foreign)


def test_renamed_command__is_reported(foreign: ForeignProject) -> None:
    with RedisServer(options={"rename-command EVALSHA": ""}) as server:
        foreign.settings(f"CACHES['warm']['LOCATION'] = '{server.url()}'")
        assert_reported(foreign, "Remove the line 'rename-command'")


def test_fakeredis__without_lua_is_reported(foreign: ForeignProject) -> None:
    foreign.settings(FAKE)
    assert_reported(foreign, "pip install fakeredis[lua]")
