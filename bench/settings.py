"""The settings of production, with two more caches: JSON and zlib, and what django-redis does by itself."""

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


CACHES["json"] = _with(
    SERIALIZER="django_redis.serializers.json.JSONSerializer",
    COMPRESSOR="django_redis.compressors.zlib.ZlibCompressor",
)
CACHES["pickled"] = _with()
