"""The suite's settings, with two SQLite files in a folder of the test's."""

import os
from pathlib import Path

from config.database_url import database_settings
from config.settings.test import *  # noqa: F403

FOLDER = Path(os.environ["TWO_DATABASES"])
DATABASES = {name: database_settings(f"sqlite:///{FOLDER / name}.sqlite3") for name in ("default", "second")}
