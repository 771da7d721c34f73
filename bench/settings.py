"""The settings of production, with another cache of the same kind, and two that encode otherwise.

Where a second database is given, a commit of either waits for the disk.
"""

from copy import deepcopy
from os import environ
from typing import Any

from config.database_url import database_settings
from config.settings.production import *  # noqa: F403
from config.settings.production import CACHES, DATABASES

LOGGING_CONFIG = None


def _with(version: int, **options: str) -> dict[str, Any]:
    settings: dict[str, Any] = deepcopy(CACHES["default"]) | {"VERSION": version}
    for option in ("SERIALIZER", "COMPRESSOR"):
        del settings["OPTIONS"][option]
    settings["OPTIONS"] |= options
    return settings


if _url := environ.get("BENCH_SECOND_DATABASE_URL"):
    DATABASES["postgresql"] = database_settings(_url)
    DATABASES["default"]["OPTIONS"]["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"

# One server for all, and the same jobs in each: so the keys have a version of their own.
CACHES["plain"] = {**CACHES["default"], "VERSION": 2}
CACHES["json"] = _with(
    3,
    SERIALIZER="django_redis.serializers.json.JSONSerializer",
    COMPRESSOR="django_redis.compressors.zlib.ZlibCompressor",
)
# What django-redis does by itself.
CACHES["pickled"] = _with(4)
