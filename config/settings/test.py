"""The test suite: `tests/servers.py` starts the servers and names them in the environment."""

from datetime import timedelta

from config.database_url import database_settings
from config.environment import env, env_int, env_list
from config.redis_url import broker_of_environment, cache_settings
from config.settings.base import *
from config.settings.base import BROKER_TRANSPORT_OPTIONS
from config.settings.base import INSTALLED_APPS as PROJECT_APPS
from config.settings.base import MIDDLEWARE as PROJECT_MIDDLEWARE

DEBUG = False
SECRET_KEY = "only-for-the-test-suite-0123456789abcdefghijklmnopqrstuvwxyz-0123456789"
ALLOWED_HOSTS = ["*"]

DATABASES = {"default": database_settings(env("DATABASE_URL") or "sqlite:///:memory:")}
_database = DATABASES["default"]
if _database["ENGINE"].endswith("sqlite3") and _database["NAME"] != ":memory:":
    # A file instead of Django's in-memory database, so that threads and other processes see the same rows.
    _database["TEST"] = {"NAME": f"{_database['NAME']}.test"}
    _database["OPTIONS"] |= {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"}
CACHES = {"default": cache_settings(env("REDIS_URL"), max_connections=50)}
# Long time-outs, because the machine may be busy. Tests of a hanging cache use shorter ones.
_pool = CACHES["default"]["OPTIONS"]["CONNECTION_POOL_KWARGS"]
_waits = ("socket_timeout", "socket_connect_timeout", "timeout")
_pool |= dict.fromkeys(_waits, env_int("CACHE_TIMEOUT_SECONDS", 20))

_broker = broker_of_environment()
CELERY_BROKER_URL = _broker["url"]
CELERY_BROKER_TRANSPORT_OPTIONS = BROKER_TRANSPORT_OPTIONS | _broker["transport_options"]
# Tasks run in the test process; the worker processes of the system tests unset this.
CELERY_TASK_ALWAYS_EAGER = env("CELERY_TASK_ALWAYS_EAGER", "1") == "1"
CELERY_TASK_EAGER_PROPAGATES = True

# An app of the test suite. The system tests change the rest for the worker processes that they start.
INSTALLED_APPS = [*PROJECT_APPS, "tests.support.emptying", *env_list("EXTRA_APPS")]
MIDDLEWARE = [*PROJECT_MIDDLEWARE, *env_list("EXTRA_MIDDLEWARE")]
WARMER_BATCH_SIZE = env_int("WARMER_BATCH_SIZE", 500)
WARMER_STALL_TIMEOUT = timedelta(seconds=env_int("WARMER_STALL_TIMEOUT", 600))

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
