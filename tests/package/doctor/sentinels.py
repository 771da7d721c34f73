"""Sentinels, which watch a master and name another when it fails."""

import subprocess
from pathlib import Path
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError

from embedded.ports import LOOPBACK, free_port
from embedded.processes import ProcessGroup
from embedded.redis_server import find_redis_server
from embedded.waiting import wait_until


class Sentinel:
    """One Sentinel on the loopback address.

    Args:
        folder: where it keeps its file.
        master: the port of the server that it watches.
        name: what it calls it. Of one name django-redis keeps one pool, whatever the Sentinels.
        password, master_password: what its clients must give, and what it gives to the master.
    """

    def __init__(
        self,
        *,
        folder: Path,
        master: int,
        name: str = "mymaster",
        quorum: int = 2,
        down_after_ms: int = 300,
        password: str = "",
        master_password: str = "",
    ) -> None:
        self._name, self._password = name, password
        self.port = free_port()
        self._file = folder / f"sentinel-{self.port}.conf"
        login = f"requirepass {password}\n" if password else ""
        login += f"sentinel auth-pass {name} {master_password}\n" if master_password else ""
        self._file.write_text(
            f"bind {LOOPBACK}\nport {self.port}\ndir {folder}\n"
            f"sentinel monitor {name} {LOOPBACK} {master} {quorum}\n"
            f"sentinel down-after-milliseconds {name} {down_after_ms}\n"
            f"sentinel failover-timeout {name} 60000\n{login}"
        )
        self._process: ProcessGroup | None = None

    def __enter__(self) -> Self:
        command = [str(find_redis_server()), str(self._file), "--sentinel"]
        self._process = ProcessGroup(command, output=subprocess.DEVNULL)
        wait_until(lambda: bool(self.state()), seconds=60, what="the Sentinel answers")
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.end(())
            self._process = None

    def state(self) -> dict[str, Any]:
        """Return what it says of the master; nothing while it does not answer."""
        try:
            with Redis(host=LOOPBACK, port=self.port, password=self._password or None, socket_timeout=5) as client:
                return dict(client.sentinel_master(self._name))
        except RedisError:
            return {}
