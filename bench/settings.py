"""The production settings, with more caches of the same kind, and settings of a benchmark's processes."""

from os import environ
from typing import Any

from config.settings.production import *  # noqa: F403
from config.settings.production import CACHES, STORAGES
from config.settings.production import INSTALLED_APPS as PROJECT_APPS

LOGGING_CONFIG = None

# `bench` has jobs that need no database. A process may add a library's app, or remove warmer.
INSTALLED_APPS = [*PROJECT_APPS, "bench", *environ.get("BENCH_APPS", "").split()]
if environ.get("BENCH_WITHOUT_WARMER"):
    INSTALLED_APPS.remove("warmer")

# Static files are not collected.
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}

# Create tables from the models, which takes a second less per database than migrations.
MIGRATION_MODULES = {app.rpartition(".")[2]: None for app in INSTALLED_APPS}


def _with(version: int, **options: str) -> dict[str, Any]:
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": CACHES["default"]["LOCATION"],
        "OPTIONS": {"IGNORE_EXCEPTIONS": True, **options},
        "VERSION": version,
    }


# The caches share a server and jobs, so each has its own version of the keys. They share the connection pool,
# which django-redis keeps by address.
CACHES["plain"] = _with(
    2, SERIALIZER="warmer.serializers.MsgspecSerializer", COMPRESSOR="warmer.serializers.LongValueCompressor"
)
CACHES["json"] = _with(
    3,
    SERIALIZER="django_redis.serializers.json.JSONSerializer",
    COMPRESSOR="django_redis.compressors.zlib.ZlibCompressor",
)
CACHES["pickled"] = _with(4)  # django-redis' own default

# Cache only decorated functions, on the same server.
CACHEOPS = {"users.customuser": {"ops": (), "timeout": 3600}}
CACHEOPS_REDIS = environ["REDIS_URL"]
CACHEBACK_CACHE_ALIAS = "pickled"  # the usual choice of its users

# Without Celery workers a run happens in the process that requests it.
CELERY_TASK_ALWAYS_EAGER = "BENCH_KEYS" not in environ
