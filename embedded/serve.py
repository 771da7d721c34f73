"""Run the site with its Redis servers, database, worker, beat and web server, until Ctrl-C.

    script/server

PORT (8000), HOST (127.0.0.1), REDIS_URL, CELERY_BROKER_URL, DATABASE_URL, ADMIN_USERNAME,
ADMIN_PASSWORD and WARMER_DATA_DIR (.data) may be set in the environment.
"""

import os
import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from embedded.child import Command
from embedded.ports import LOOPBACK
from embedded.processes import Ask, EmbeddedError
from embedded.supervisor import USUAL_DATA_DIR, Plan, Server, Supervisor

# Stable, so that `celery inspect --destination` always works.
NODE = "worker@localhost"
CACHE_OPTIONS = {"appendonly": "yes", "maxmemory": "256mb", "maxmemory-policy": "allkeys-lru"}
BROKER_OPTIONS = {"appendonly": "yes", "maxmemory-policy": "noeviction"}
# On SIGTERM a worker finishes its tasks. On SIGQUIT it returns them to the queue.
WARM_THEN_COLD = (Ask(signal=signal.SIGTERM, seconds=20), Ask(signal=signal.SIGQUIT, seconds=8))


def main() -> int:
    """Run the project's plan, and return the exit code."""
    if sys.argv[1:]:
        print(__doc__)
        return 0 if sys.argv[1] in ("-h", "--help") else 2
    try:
        plan = project_plan(os.environ)
        import_module("config.settings")  # checks every address before anything starts
    except (EmbeddedError, ImproperlyConfigured) as error:
        print(error, file=sys.stderr)
        return 1
    return Supervisor(plan).run()


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
    migrate = (*manage, "migrate", "--noinput", "--verbosity", "0")
    worker = (*celery, "worker", "-n", NODE, "-l", "INFO", "-c", "2")
    web = (*manage, "runserver", "--noreload", f"{host}:{port}")
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
            Command(name="migrate", title="Preparing the database", words=migrate),
            Command(name="sample", title="Sample data", words=(*manage, "sample_data")),
        ),
        services=(
            Command(name="worker", words=worker, asks=WARM_THEN_COLD, ready=f"{NODE} ready."),
            Command(name="beat", words=(*celery, "beat", "-l", "INFO")),
            Command(name="web", words=web, ready="Quit the server with CONTROL-C."),
        ),
        after=(Command(name="warm", title="First warm", words=(*manage, "warm_cache"), required=False),),
    )


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise EmbeddedError(
            f"PORT is {text!r}: expected a number from 1 to 65535, e.g. PORT=8001 script/server."
        )
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
