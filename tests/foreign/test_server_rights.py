"""A cache server that does not let warmer's scripts run: the doctor says what mends it, and that does."""

from embedded.ports import LOOPBACK, free_port
from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.foreign.project import ASKING, ForeignProject

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


def fix_of_error(check: str, foreign: ForeignProject) -> str:
    """Return the fix of an error that the doctor finds where `check` finds nothing."""
    said, found = foreign.examine()
    assert "no issues" in said
    assert found[check]["severity"] == "error"
    return str(found[check]["fix"])


def assert_works(foreign: ForeignProject) -> None:
    writes = foreign.examine()[1]["writes"]
    assert (writes["severity"], writes["fix"]) == ("ok", "")
    warm = "call_command('warm_cache', inline=True)"
    assert foreign.run(ASKING + READ_AND_SAVE + warm) == [["Ada"], ["Bob"], True]


def assert_reported(foreign: ForeignProject, text: str) -> None:
    """Check that the doctor reports an error with this in its fix, and that reads and saves work uncached."""
    assert text in fix_of_error("writes", foreign)
    assert foreign.run(READ_AND_SAVE) == [["Ada"], ["Bob"], False]


def test_user_with_few_rights__until_the_fix_of_the_doctor(foreign: ForeignProject, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.execute_command("ACL SETUSER", "few", "on", ">pw", "~*", "-@all", "+ping", "+get", "+set")
        try:
            foreign.settings(f"CACHES['warm']['LOCATION'] = 'redis://few:pw@{LOOPBACK}:{redis_server.port}/0'")
            line = fix_of_error("writes", foreign).splitlines()[0].split()
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
        fix = fix_of_error("reachability", foreign)
        assert "cluster mode" in fix
        assert "warmer.W015" in foreign.manage("migrate")
        foreign.settings(fix.splitlines()[0])
        assert_works(foreign)


def test_renamed_command__is_reported(foreign: ForeignProject) -> None:
    with RedisServer(options={"rename-command EVALSHA": ""}) as server:
        foreign.settings(f"CACHES['warm']['LOCATION'] = '{server.url()}'")
        assert_reported(foreign, "Remove the line 'rename-command'")


def test_fakeredis__without_lua_is_reported(foreign: ForeignProject) -> None:
    foreign.settings(FAKE)
    assert_reported(foreign, "pip install 'fakeredis[lua]'")
