"""The settings of production, with another cache of the same kind, and two that encode otherwise."""

from copy import deepcopy
from typing import Any

from config.settings.production import *  # noqa: F403
from config.settings.production import CACHES

LOGGING_CONFIG = None


def _with(**options: str) -> dict[str, Any]:
    settings = deepcopy(CACHES["default"])
    for option in ("SERIALIZER", "COMPRESSOR"):
        del settings["OPTIONS"][option]
    settings["OPTIONS"] |= options
    return settings


CACHES["plain"] = CACHES["default"]
CACHES["json"] = _with(
    SERIALIZER="django_redis.serializers.json.JSONSerializer",
    COMPRESSOR="django_redis.compressors.zlib.ZlibCompressor",
)
# What django-redis does by itself.
CACHES["pickled"] = _with()
