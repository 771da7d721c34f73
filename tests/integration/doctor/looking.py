"""Make one of the doctor's checks of a real server, and carry out the fix that it proposes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from django_redis.pool import ConnectionFactory

from config.redis_url import cache_settings
from embedded.redis_server import RedisServer
from warmer.doctor.check import CacheCheck, ProjectCheck
from warmer.doctor.examination import examine
from warmer.doctor.finding import Finding, NotChecked, Severity
from warmer.doctor.project import Project, chosen_caches, specs_of
from warmer.schedule import Beat
from warmer.tasks import Broker, Queue

# In every text that is made with it, so that one which shows it is found.
PASSWORD = "s3cret-w0rd"
PAGE = (Path(__file__).parent.parent.parent.parent / "docs/doctor.md").read_text()
Serve = Callable[..., RedisServer]


class Look:
    """Make checks of a cache that is not in the settings before."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def all(
        self,
        check: CacheCheck | ProjectCheck,
        where: str | RedisServer | dict[str, Any] = "",
        *,
        broker: Broker | None = None,
        queues: tuple[Queue, ...] = (),
        beat: Beat | None = None,
        **others: Any,
    ) -> list[Finding | NotChecked]:
        """Return all that a check says of a cache: a server, its address, or an entry for `CACHES`."""
        if where:
            entry = where if isinstance(where, dict) else self._entry(where)
            self._settings.CACHES = {**self._settings.CACHES, "other": entry}
            # django-redis keeps a pool for good by its address, and a server may get the port of one before.
            ConnectionFactory._pools.pop(entry.get("LOCATION", ""), None)
        caches = chosen_caches("other" if where else "default")
        project = Project(
            caches=caches,
            **{"specs": specs_of(caches)} | others,
            broker=lambda: broker or Broker(in_process=True),
            queues=lambda: queues,
            beat=None if beat is None else lambda: beat,
        )
        is_of_cache = isinstance(check, CacheCheck)
        found = examine(
            project,
            cache_checks=[check] if is_of_cache else [],
            project_checks=[] if is_of_cache else [check],
        )
        for cache in caches:
            if cache.server is not None:
                cache.server.close()
        for each in found.findings:
            assert _is_documented(each), each
            assert PASSWORD not in f"{each.seen} {each.why} {each.fix}"
            assert each.severity == Severity.OK or each.why
            assert each.severity in (Severity.OK, Severity.INFO) or each.fix
        return list(found.answers)

    def __call__(self, check: CacheCheck | ProjectCheck, *args: Any, **kwargs: Any) -> Finding:
        """Return the only thing that a check says."""
        (found,) = self.all(check, *args, **kwargs)
        assert isinstance(found, Finding), found
        return found

    def not_checked(self, check: CacheCheck | ProjectCheck, *args: Any, **kwargs: Any) -> str:
        """Return why a check was not made."""
        (found,) = self.all(check, *args, **kwargs)
        assert isinstance(found, NotChecked), found
        return found.reason

    def _entry(self, where: str | RedisServer) -> dict[str, Any]:
        url = where if isinstance(where, str) else where.url()
        return cache_settings(url, max_connections=5)


def _is_documented(finding: Finding) -> bool:
    """Return whether docs/doctor.md says that this check can find something so bad."""
    if finding.severity in (Severity.OK, Severity.FAILED) or "does not allow" in finding.seen:
        return True  # what is said of every check
    part = PAGE.split(f"### `{finding.check}`\n")[1].split("\n##")[0]
    return f"\n| {'note' if finding.severity == Severity.INFO else finding.severity.value} | " in part


def carry_out(finding: Finding, server: RedisServer) -> None:
    """Do what the first line of a fix says: a `redis-cli ... CONFIG SET name value`."""
    line = finding.fix.splitlines()[0]
    start, _, words = line.partition(" CONFIG SET ")
    assert start == f"redis-cli -h 127.0.0.1 -p {server.port}", line
    name, value = words.split()
    with server.client() as client:
        assert client.config_set(name, value)
    assert f"in redis.conf, for its next start: {name} {value}" in finding.fix


def overfill(server: RedisServer) -> None:
    """Give a server a limit that its data is far above, so that it refuses every write or must evict.

    The keys are many and small, as a cache's are: a single large one is freed in the background, and what is
    written just then may be refused although room is being made.
    """
    with server.client() as client:
        client.config_set("maxmemory", "0")
        client.mset({f"more:{number}": "x" * 500 for number in range(20_000)})
        client.config_set("maxmemory", "4mb")


def says(finding: Finding) -> tuple[str, str]:
    """Return how bad a finding is, and what was seen."""
    return finding.severity.value, finding.seen
