"""Run checks of the doctor on real servers, and carry out the fixes that they propose."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from django_redis.pool import ConnectionFactory

from config.redis_url import cache_settings
from embedded.redis_server import RedisServer
from embedded.server import LOG_NAME
from embedded.waiting import wait_until
from warmer.doctor.check import Finding, Severity
from warmer.doctor.diagnosis import CHECKS, diagnose
from warmer.doctor.project import Project

# It must appear in no finding.
PASSWORD = "s3cret-w0rd"
PAGE = (Path(__file__).resolve().parents[3] / "docs/doctor.md").read_text()
Serve = Callable[..., RedisServer]
BACKENDS = "django.core.cache.backends"
# Of a project in which a job uses the cache that is examined.
USED = (SimpleNamespace(cache="other"),)


class Examine:
    """Run a check on a cache that the settings do not have: `examine("maxmemory", server)`."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def all(self, check: str, where: str | RedisServer | dict[str, Any] = "", **known: Any) -> list[Finding]:
        """Return all findings of a check.

        Args:
            check: its id.
            where: a server, its address, or an entry for `CACHES`.
            known: attributes of the project that are not to be asked for.
        """
        if where:
            entry = where if isinstance(where, dict) else cache_entry(where)
            self._settings.CACHES = {**self._settings.CACHES, "other": entry}
            # django-redis keeps a pool for good by its address, and a server may get the port of one before.
            ConnectionFactory._pools.pop(entry.get("LOCATION", ""), None)
        project = Project("other" if where else "default")
        vars(project).update(known)
        (chosen,) = (each for each in CHECKS if each.id == check)
        found = diagnose(project, checks=[chosen])
        project.close()
        for each in found:
            assert PASSWORD not in f"{each.message} {each.why} {each.fix}"
            if each.severity not in (Severity.SKIPPED, Severity.OK, Severity.FAILED):
                assert each.why
                assert each.fix or "does not allow" in each.message
                assert _is_documented(each), each
        return found

    def __call__(self, check: str, *args: Any, **known: Any) -> Finding:
        """Return the only finding of a check."""
        (found,) = self.all(check, *args, **known)
        return found


def expect(found: Finding, severity: str, *, says: str = "", fix: str = "", advises: str = "") -> Finding:
    """Assert how bad a finding is, what its message says, how its fix begins and what it advises; return it."""
    assert found.severity == severity, found
    assert says in found.message
    assert found.fix.startswith(fix)
    assert advises in found.fix
    return found


def cache_entry(where: str | RedisServer, **pool: Any) -> dict[str, Any]:
    """Return an entry for `CACHES` that waits half a second at most."""
    entry = cache_settings(where if isinstance(where, str) else where.url(), max_connections=5)
    waits = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
    entry["OPTIONS"]["CONNECTION_POOL_KWARGS"] |= waits | pool
    return entry


def carry_out(finding: Finding, server: RedisServer) -> None:
    """Do what the first line of a fix says: a `redis-cli ... CONFIG SET name value`."""
    line = finding.fix.splitlines()[0]
    start, _, words = line.partition(" CONFIG SET ")
    assert start == f"redis-cli -h 127.0.0.1 -p {server.port}", line
    name, value = words.split()
    assert f"in redis.conf, for its next start: {name} {value}" in finding.fix
    configure(server, **{name: value})


def configure(server: RedisServer, **options: str) -> None:
    """Change options of a running server: `configure(server, maxmemory="1mb")`."""
    with server.client() as client:
        for name, value in options.items():
            assert client.config_set(name.replace("_", "-"), value)


def limited(server: RedisServer, rights: str) -> str:
    """Return an address with a user that has everything but some rights, e.g. "-config -info"."""
    with server.client() as client:
        client.execute_command(
            *("ACL", "SETUSER", "app", "reset", "on", f">{PASSWORD}", "~*", "&*", "+@all"), *rights.split()
        )
    return f"redis://app:{PASSWORD}@127.0.0.1:{server.port}/0"


def fill(server: RedisServer, *, keys: int, each: int = 10_000, seconds: int | None = 3600) -> None:
    """Write keys of a size."""
    with server.client() as client, client.pipeline(transaction=False) as pipeline:
        for number in range(keys):
            pipeline.set(f":1:post:{number}", "x" * each, ex=seconds)
        pipeline.execute(raise_on_error=False)


def overfill(server: RedisServer) -> None:
    """Give a server a limit that its data is far above, so that it refuses every write or must evict.

    The keys are many and small, as a cache's are: a single large one is freed in the background, and what is
    written just then may be refused although room is being made.
    """
    configure(server, maxmemory="0")
    with server.client() as client:
        client.mset({f"more:{number}": "x" * 500 for number in range(20_000)})
    configure(server, maxmemory="4mb")


def fail_to_save(server: RedisServer) -> None:
    """Take the server's folder away and let it try to save."""
    with server.client() as client:
        folder = Path(client.config_get("dir")["dir"])
        assert (folder / LOG_NAME).exists()
        shutil.rmtree(folder)
        client.set("key", "value")
        client.bgsave()
        wait_until(
            lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err",
            seconds=60,
            what="the save has failed",
        )


def _is_documented(finding: Finding) -> bool:
    """Return whether docs/doctor.md lists such a severity for the check."""
    part = PAGE.split(f"### `{finding.check}`\n")[1].split("\n##")[0]
    return f"\n| {finding.severity} | " in part or "does not allow" in finding.message
