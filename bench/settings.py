"""The settings of production, with two more caches: without the compressor, and with what is usual."""

from copy import deepcopy
from typing import Any

from config.settings.production import *  # noqa: F403
from config.settings.production import CACHES

LOGGING_CONFIG = None


def _without(*options: str) -> dict[str, Any]:
    settings = deepcopy(CACHES["default"])
    for option in options:
        del settings["OPTIONS"][option]
    return settings


CACHES["uncompressed"] = _without("COMPRESSOR")
# What django-redis does by itself.
CACHES["pickled"] = _without("COMPRESSOR", "SERIALIZER")
