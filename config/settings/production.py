"""Production: everything comes from environment variables, and startup fails with a list of missing ones."""

from config.database_url import database_settings
from config.environment import env, env_int, env_list, require
from config.redis_url import broker_of_environment, cache_settings
from config.settings.base import *
from config.settings.base import BROKER_TRANSPORT_OPTIONS, MIDDLEWARE

_required = require(
    SECRET_KEY="a long random text, at least 50 characters",
    ALLOWED_HOSTS="the site's host names, separated by commas",
    DATABASE_URL="e.g. postgres://user:password@host:5432/name",
    REDIS_URL="the cache, e.g. redis://:password@host:6379/0",
    CELERY_BROKER_URL="the broker, another Redis that does not evict",
)

DEBUG = False
SECRET_KEY = _required["SECRET_KEY"]
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS")

DATABASES = {"default": database_settings(_required["DATABASE_URL"])}
CACHES = {
    "default": cache_settings(_required["REDIS_URL"], max_connections=env_int("REDIS_MAX_CONNECTIONS", 50))
}

_broker = broker_of_environment()
CELERY_BROKER_URL = _broker["url"]
CELERY_BROKER_TRANSPORT_OPTIONS = BROKER_TRANSPORT_OPTIONS | _broker["transport_options"]

# Serves the static files, which are collected when the image is built.
MIDDLEWARE.insert(1, "whitenoise.middleware.WhiteNoiseMiddleware")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# HTTPS is required. Behind a proxy that terminates TLS, the header indicates it; `INSECURE_HTTP=1` is for
# trying this on your own machine, as docker-compose.yml does.
_https = env("INSECURE_HTTP") != "1"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _https else None
SECURE_SSL_REDIRECT = _https
SESSION_COOKIE_SECURE = _https
CSRF_COOKIE_SECURE = _https
SECURE_HSTS_SECONDS = 3600 if _https else 0
# Health checks of a load balancer, and Prometheus, use plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
