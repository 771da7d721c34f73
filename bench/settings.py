"""The settings of production, with another cache of the same kind, and two that encode otherwise."""

from copy import deepcopy
from typing import Any

from config.settings.production import *  # noqa: F403
from config.settings.production import CACHES

LOGGING_CONFIG = None


def _with(version: int, **options: str) -> dict[str, Any]:
    settings: dict[str, Any] = deepcopy(CACHES["default"]) | {"VERSION": version}
    for option in ("SERIALIZER", "COMPRESSOR"):
        del settings["OPTIONS"][option]
    settings["OPTIONS"] |= options
    return settings


# One server for all, and the same jobs in each: so the keys have a version of their own.
CACHES["plain"] = {**CACHES["default"], "VERSION": 2}
CACHES["json"] = _with(
    3,
    SERIALIZER="django_redis.serializers.json.JSONSerializer",
    COMPRESSOR="django_redis.compressors.zlib.ZlibCompressor",
)
# What django-redis does by itself.
CACHES["pickled"] = _with(4)
