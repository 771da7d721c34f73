"""Run the site with its Redis servers, database, worker, beat and web server, until Ctrl-C.

    script/server

PORT (8000), HOST (127.0.0.1), REDIS_URL, CELERY_BROKER_URL, DATABASE_URL, ADMIN_USERNAME,
ADMIN_PASSWORD and WARMER_DATA_DIR (.data) may be set in the environment.
"""

import os
import sys
from importlib import import_module

from django.core.exceptions import ImproperlyConfigured

from embedded.plan import project_plan
from embedded.processes import EmbeddedError
from embedded.supervisor import Supervisor


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


if __name__ == "__main__":
    sys.exit(main())
