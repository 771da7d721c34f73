"""What `script/server` runs, read from the environment: servers, preparations, services."""

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embedded.ports import LOOPBACK
from embedded.processes import POLITELY, Ask, EmbeddedError

ROOT = Path(__file__).resolve().parent.parent
USUAL_DATA_DIR = ROOT / ".data"
# Stable, so that `celery inspect --destination` always works.
NODE = "worker@localhost"

CACHE_OPTIONS = {"appendonly": "yes", "maxmemory": "256mb", "maxmemory-policy": "allkeys-lru"}
BROKER_OPTIONS = {"appendonly": "yes", "maxmemory-policy": "noeviction"}

# On SIGTERM a worker finishes its tasks. On SIGQUIT it returns them to the queue.
WARM_THEN_COLD = (Ask(signal=signal.SIGTERM, seconds=20), Ask(signal=signal.SIGQUIT, seconds=8))


@dataclass(frozen=True, kw_only=True)
class Server:
    """A Redis to start, unless the variable that names it is set already."""

    name: str
    variable: str
    options: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of the project: a step that runs and exits, or a service that runs until we stop it.

    Attributes:
        title: the console's message before a step.
        required: stop everything if a step fails.
        ready: the end of the line that a service prints when it is ready.
        asks: how to ask a service to stop.
    """

    name: str
    words: tuple[str, ...]
    title: str = ""
    required: bool = True
    ready: str = ""
    asks: tuple[Ask, ...] = POLITELY


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that the supervisor needs to know. It stops services from the last to the first."""

    data_dir: Path
    host: str
    port: int
    environment: Mapping[str, str]
    servers: tuple[Server, ...] = ()
    before: tuple[Command, ...] = ()
    services: tuple[Command, ...] = ()
    after: tuple[Command, ...] = ()

    @property
    def address(self) -> str:
        """Return the site's URL."""
        host = LOOPBACK if self.host == "0.0.0.0" else self.host  # noqa: S104
        return f"http://{host}:{self.port}/"


def project_plan(environment: Mapping[str, str]) -> Plan:
    """Return the plan of this project.

    Raises:
        EmbeddedError: PORT is not a port.
    """
    manage = (sys.executable, "manage.py")
    celery = (sys.executable, "-m", "celery", "--quiet", "-A", "config")
    host = environment.get("HOST") or LOOPBACK
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
            "PYTHONUNBUFFERED": "1",  # so that output appears line by line
        },
        servers=(
            Server(name="cache", variable="REDIS_URL", options=CACHE_OPTIONS),
            Server(name="broker", variable="CELERY_BROKER_URL", options=BROKER_OPTIONS),
        ),
        before=(
            Command(
                name="migrate",
                title="Preparing the database",
                words=(*manage, "migrate", "--noinput", "--verbosity", "0"),
            ),
            Command(name="sample", title="Sample data", words=(*manage, "sample_data")),
        ),
        services=(
            Command(
                name="worker",
                words=(*celery, "worker", "-n", NODE, "-l", "INFO", "-c", "2"),
                asks=WARM_THEN_COLD,
                ready=f"{NODE} ready.",
            ),
            Command(name="beat", words=(*celery, "beat", "-l", "INFO")),
            Command(
                name="web",
                words=(*manage, "runserver", "--noreload", f"{host}:{port}"),
                ready="Quit the server with CONTROL-C.",
            ),
        ),
        after=(Command(name="warm", title="First warm", words=(*manage, "warm_cache"), required=False),),
    )


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise EmbeddedError(
            f"PORT is {text!r}: expected a number from 1 to 65535, e.g. PORT=8001 script/server."
        )
    return int(text)
