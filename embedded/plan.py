"""What `script/server` runs, read from the environment: servers, preparations, services."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from config.database_url import database_settings
from config.redis_url import broker_settings, cache_settings
from embedded.errors import EmbeddedError
from embedded.ports import EVERYWHERE
from embedded.processes import POLITELY, Ask

ROOT = Path(__file__).resolve().parent.parent
USUAL_DATA_DIR = ROOT / ".data"
# Stable, so that `celery inspect --destination` works the same on each day.
NODE = "worker@localhost"

CACHE_OPTIONS = {
    "appendonly": "yes",
    "maxmemory": "256mb",
    "maxmemory-policy": "allkeys-lru",
}
BROKER_OPTIONS = {"appendonly": "yes", "maxmemory-policy": "noeviction"}

# A worker ends warm on SIGTERM: it finishes its tasks. On SIGQUIT it hands them back.
WARM_THEN_COLD = (Ask(signal=signal.SIGTERM, seconds=20), Ask(signal=signal.SIGQUIT, seconds=8))


@dataclass(frozen=True, kw_only=True)
class Server:
    """A Redis to start, unless the variable that names it is set already."""

    name: str
    variable: str
    folder: str
    options: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command that runs to its end before the next thing begins.

    `quiet`: its output is shown only when it fails. `required`: nothing goes on when it fails.
    `retry_seconds`: repeat it so long as it fails, for a command that asks "are you there?".
    """

    name: str
    title: str
    command: tuple[str, ...]
    quiet: bool = False
    required: bool = True
    retry_seconds: float = 0


@dataclass(frozen=True, kw_only=True)
class Service:
    """A process that runs until we stop it."""

    name: str
    command: tuple[str, ...]
    asks: tuple[Ask, ...] = POLITELY


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that the supervisor needs to know; it stops services from the last to the first."""

    data_dir: Path
    host: str
    port: int
    environment: Mapping[str, str]
    root: Path = ROOT
    servers: tuple[Server, ...] = ()
    before: tuple[Step, ...] = ()
    services: tuple[Service, ...] = ()
    after: tuple[Step, ...] = ()

    @property
    def address(self) -> str:
        """Return the site's address, as one types it into a browser."""
        return f"http://{_bracketed(EVERYWHERE.get(self.host, self.host))}:{self.port}/"


def project_plan(environment: Mapping[str, str]) -> Plan:
    """Return the plan of this project.

    Raises:
        EmbeddedError: a variable holds something that cannot be used.
    """
    _check_addresses(environment)
    python = sys.executable
    manage = (python, "manage.py")
    celery = (python, "-m", "celery", "--quiet", "-A", "config")
    host = environment.get("HOST") or "127.0.0.1"
    port = _port(environment.get("PORT") or "8000")
    data_dir = Path(environment.get("WARMER_DATA_DIR") or USUAL_DATA_DIR).resolve()
    return Plan(
        data_dir=data_dir,
        host=host,
        port=port,
        environment={
            **environment,
            "WARMER_DATA_DIR": str(data_dir),
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONUNBUFFERED": "1",  # or lines would come late, in blocks
        },
        servers=(
            Server(name="cache", variable="REDIS_URL", folder="redis", options=CACHE_OPTIONS),
            Server(
                name="broker",
                variable="CELERY_BROKER_URL",
                folder="broker",
                options=BROKER_OPTIONS,
            ),
        ),
        before=(
            Step(
                name="migrate",
                title="Preparing the database",
                command=(*manage, "migrate", "--noinput", "--verbosity", "0"),
                quiet=True,
            ),
            Step(name="sample", title="Sample data", command=(*manage, "sample_data")),
        ),
        services=(
            Service(
                name="worker",
                command=(*celery, "worker", "-n", NODE, "-l", "INFO", "-c", "2"),
                asks=WARM_THEN_COLD,
            ),
            Service(name="beat", command=(*celery, "beat", "-l", "INFO")),
            Service(
                name="web",
                command=(*manage, "runserver", "--noreload", f"{_bracketed(host)}:{port}"),
            ),
        ),
        after=(
            Step(
                name="ping",
                title="Waiting for the worker",
                command=(*celery, "inspect", "-d", NODE, "-t", "1", "ping"),
                quiet=True,
                retry_seconds=60,
            ),
            Step(
                name="warm",
                title="First warm",
                command=(*manage, "warm_cache"),
                required=False,
            ),
        ),
    )


def _check_addresses(environment: Mapping[str, str]) -> None:
    """See that the settings will take the addresses, before anything is started."""
    readers: dict[str, Callable[[str], object]] = {
        "DATABASE_URL": database_settings,
        "REDIS_URL": partial(cache_settings, max_connections=1),
        "CELERY_BROKER_URL": broker_settings,
    }
    for variable, read in readers.items():
        if address := environment.get(variable, "").strip():
            try:
                read(address)
            except ImproperlyConfigured as error:
                raise EmbeddedError(str(error)) from None


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise EmbeddedError(
            f"PORT is {text!r}: expected a number from 1 to 65535, e.g. PORT=8001 script/server."
        )
    return int(text)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
