"""Development: works without any server, and uses those that are configured."""

from django.core.exceptions import ImproperlyConfigured

from config.database_url import database_settings
from config.environment import env, env_list
from config.redis_url import broker_of_environment, cache_settings
from config.running_servers import running_servers
from config.settings.base import *
from config.settings.base import BROKER_TRANSPORT_OPTIONS, DATA_DIR

DEBUG = True
SECRET_KEY = env("SECRET_KEY") or "development-only-not-a-secret-0123456789abcdefghijklmnopqrstuvwxyz"
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS") or ["localhost", "127.0.0.1", "[::1]"]

try:
    DATA_DIR.mkdir(parents=True, exist_ok=True)
except OSError as error:
    text = f"WARMER_DATA_DIR: {DATA_DIR} cannot be created: {error.strerror}."
    raise ImproperlyConfigured(text) from error

# While `script/server` runs, commands in another terminal use the same servers.
_servers = running_servers(DATA_DIR)
_redis_url = env("REDIS_URL") or _servers.get("REDIS_URL", "")

DATABASES = {"default": database_settings(env("DATABASE_URL") or f"sqlite:///{DATA_DIR / 'db.sqlite3'}")}

if _redis_url:
    CACHES = {"default": cache_settings(_redis_url, max_connections=20)}
else:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": DATA_DIR / "cache",
            "OPTIONS": {"MAX_ENTRIES": 100_000},
        }
    }

# After the cache, so that an error about a shared URL names the variable that was set.
_broker = broker_of_environment(default=_servers.get("CELERY_BROKER_URL", "") or _redis_url)
if _broker["url"]:
    CELERY_BROKER_URL = _broker["url"]
    CELERY_BROKER_TRANSPORT_OPTIONS = BROKER_TRANSPORT_OPTIONS | _broker["transport_options"]
else:
    CELERY_TASK_ALWAYS_EAGER = True
