"""The address of a Redis server, and how redis-cli reaches it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Place:
    """The address of a server, and how a client logs in.

    Attributes:
        text: the address for display, without credentials.
        path: the path of a unix socket.
        service: the name of the master, if Sentinels provide the address.
        timeout, connect_timeout: the seconds that a client waits; None: forever.
    """

    text: str
    host: str = ""
    port: int = 0
    path: str = ""
    database: int = 0
    tls: bool = False
    service: str = ""
    username: str = ""
    has_password: bool = False
    timeout: float | None = None
    connect_timeout: float | None = None

    @property
    def redis_cli(self) -> str:
        """The start of a redis-cli command line for the server; redis-cli prompts for a password."""
        to = f"-s {self.path}" if self.path else f"-h {self.host} -p {self.port}"
        parts = ["redis-cli", "-h HOST-OF-THE-MASTER" if self.service else to]
        parts += ["--tls"] if self.tls else []
        parts += [f"--user {self.username}"] if self.username else []
        parts += ["--askpass"] if self.has_password else []
        return " ".join(parts)

    def config_set(self, name: str, value: str) -> str:
        """Return how to change an option of the server, now and for good."""
        line = f"{self.redis_cli} CONFIG SET {name} {value}"
        return f"{line}\nand in redis.conf, for its next start: {name} {value}"
