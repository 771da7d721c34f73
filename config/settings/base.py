"""Settings shared by all environments."""

from __future__ import annotations

from pathlib import Path

from kombu import Queue

from config.environment import env, env_int

BASE_DIR = Path(__file__).resolve().parent.parent.parent
DATA_DIR = Path(env("WARMER_DATA_DIR") or BASE_DIR / ".data").resolve()

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "warmer",
    "users",
    "myapp",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "warmer.monitoring.middleware.CacheMonitoringMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
ASGI_APPLICATION = "config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_USER_MODEL = "users.CustomUser"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Sessions are in the cache for speed and in the database for safety, because the cache may evict them.
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"

DJANGO_REDIS_LOG_IGNORED_EXCEPTIONS = True

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"

# The database records changes itself, so that every kind of change is captured.
WARMER_CAPTURE = env("WARMER_CAPTURE") or "triggers"

# `/metrics` for Prometheus, if the environment enables it.
WARMER_METRICS = env("WARMER_METRICS") == "1"
WARMER_METRICS_TOKEN = env("WARMER_METRICS_TOKEN")

# -- Celery ------------------------------------------------------------------------------------
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = TIME_ZONE
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"

# Tasks are acknowledged when they are done, so the broker redelivers the task of a killed worker.
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# Celery closes the database connection before and after every task, which takes several times as long as the
# statements of a batch. So tasks reuse a connection, and `config/celery.py` closes unusable ones.
CELERY_DB_REUSE_MAX = 10_000
# A stopping worker returns unfinished tasks to the queue (Celery 5.5 and later).
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 5

CELERY_TASK_SOFT_TIME_LIMIT = env_int("CELERY_TASK_SOFT_TIME_LIMIT", 240)
CELERY_TASK_TIME_LIMIT = env_int("CELERY_TASK_TIME_LIMIT", 300)
# Redis redelivers unacknowledged tasks after this time, so it is longer than any task may take.
VISIBILITY_TIMEOUT_SECONDS = env_int("CELERY_VISIBILITY_TIMEOUT", CELERY_TASK_TIME_LIMIT + 60)
# A hanging broker must not block senders for long, nor workers forever. The time-out is longer than a worker
# waits for a message (a second), and longer than a fork or a slow disk delays the server.
BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
    "socket_connect_timeout": 2,
    "socket_timeout": env_int("CELERY_BROKER_SOCKET_TIMEOUT", 5),
}

CELERY_TASK_DEFAULT_QUEUE = "default"
# Declared here, so that a plain `celery -A config worker` consumes the warming queue too.
CELERY_TASK_QUEUES = [Queue(CELERY_TASK_DEFAULT_QUEUE), Queue("warming")]
CELERY_TASK_IGNORE_RESULT = True  # a run's row records the result, and outlives a Celery result
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 2, "interval_start": 0.1, "interval_step": 0.2}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "filters": {"without_outages": {"()": "config.logs.WithoutOutages"}},
    # Without Django's own handlers, which would log each record a second time.
    "loggers": {"django": {"handlers": []}, "django_redis.cache": {"filters": ["without_outages"]}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
