"""The settings modules: what each environment needs, and what it then does. Each in a new process."""

import json
import re
import subprocess
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from config.environment import env, env_int, env_list, environment_name, require
from tests.support.fixtures import Python


def test_environment__its_name_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, name in (("production", "production"), ("test", "test"), ("", "development")):
        monkeypatch.setenv("DJANGO_ENV", value)
        assert environment_name() == name
    monkeypatch.setenv("DJANGO_ENV", "Production")
    with pytest.raises(ImproperlyConfigured, match="DJANGO_ENV is 'Production': expected one of development"):
        environment_name()

    monkeypatch.delenv("ONE", raising=False)
    monkeypatch.setenv("TWO", "  ")
    monkeypatch.setenv("THREE", "\t a third\n")
    assert require(THREE="a third") == {"THREE": "a third"}
    with pytest.raises(ImproperlyConfigured, match=r": ONE \(a number\); TWO \(another\)\.$"):
        require(ONE="a number", TWO="another", THREE="a third")
    assert (env("ONE"), env("ONE", "another"), env("THREE")) == ("", "another", "a third")
    assert (env_list("ONE"), env_int("ONE", 7)) == ([], 7)


# A password that must not be shown: it is looked for in every output.
SECRET = "s3cr3t"
PRODUCTION = {
    "DJANGO_ENV": "production",
    "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyz-0123456789-ABCDEFGHIJ",
    "ALLOWED_HOSTS": "example.org, www.example.org",
    "DATABASE_URL": f"postgres://site:{SECRET}@db.example.org:5432/site",
    "REDIS_URL": f"redis://:{SECRET}@cache.example.org:6379/0",
    "CELERY_BROKER_URL": f"redis://:{SECRET}@broker.example.org:6379/0",
}
SHOW = """
import json
from config import settings
print(json.dumps({name: value for name, value in vars(settings).items() if name.isupper()}, default=str))
"""


def assert_settings(python: Python, expected: dict[str, Any], **environment: str) -> None:
    """Assert what settings an environment gives; a path leads into one, as `CACHES.default.LOCATION`."""
    done = python(SHOW, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    values = json.loads(done.stdout)
    found = {path: reduce(lambda value, name: value.get(name), path.split("."), values) for path in expected}
    assert found == expected


def refused(python: Python, **environment: str) -> str:
    """Return the last line of what a start that is refused says."""
    done: subprocess.CompletedProcess[str] = python("import config.settings", **environment)
    assert done.returncode == 1
    assert SECRET not in done.stderr
    last = done.stderr.splitlines()[-1]
    return last.removeprefix("django.core.exceptions.ImproperlyConfigured: ")


def test_production__names_all_that_is_missing_or_cannot_be_used(python: Python) -> None:
    message = refused(python, DJANGO_ENV="production")
    assert re.findall(r"([A-Z_]{6,}) \(", message) == list(PRODUCTION)[1:]
    message = refused(python, **{**PRODUCTION, "SECRET_KEY": " "})
    assert "must be set in production: SECRET_KEY (" in message
    message = refused(python, **PRODUCTION, REDIS_MAX_CONNECTIONS="many")
    assert "REDIS_MAX_CONNECTIONS is 'many': expected an integer." in message


SERVERS = {
    "SECRET_KEY": PRODUCTION["SECRET_KEY"],
    "ALLOWED_HOSTS": ["example.org", "www.example.org"],
    "DATABASES.default.HOST": "db.example.org",
    "CACHES.default.LOCATION": PRODUCTION["REDIS_URL"],
    "CELERY_BROKER_URL": PRODUCTION["CELERY_BROKER_URL"],
}
# Celery takes no pickles, and waits for no broker for ever.
SAFE = {
    "CELERY_TASK_SERIALIZER": "json",
    "CELERY_RESULT_SERIALIZER": "json",
    "CELERY_ACCEPT_CONTENT": ["json"],
    "CELERY_BROKER_TRANSPORT_OPTIONS.socket_connect_timeout": 2,
    "CELERY_BROKER_TRANSPORT_OPTIONS.socket_timeout": 5,
}
HTTPS = ("SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE")


def test_production__is_safe_and_uses_what_it_is_given(python: Python) -> None:
    expected = {
        **SERVERS,
        **SAFE,
        **dict.fromkeys(HTTPS, True),
        "CSRF_TRUSTED_ORIGINS": ["https://example.org"],
        "DATABASES.default.ENGINE": "django.db.backends.postgresql",
        "CACHES.default.OPTIONS.CONNECTION_POOL_KWARGS.max_connections": 17,
        "DEBUG": False,
        "SECURE_PROXY_SSL_HEADER": ["HTTP_X_FORWARDED_PROTO", "https"],
        "SECURE_HSTS_SECONDS": 3600,
        "CELERY_TASK_TIME_LIMIT": 1000,
        "CELERY_TASK_SOFT_TIME_LIMIT": 240,
        # A message is delivered again only after the longest task.
        "CELERY_BROKER_TRANSPORT_OPTIONS.visibility_timeout": 1060,
    }
    given = {"CSRF_TRUSTED_ORIGINS": "https://example.org", "REDIS_MAX_CONNECTIONS": "17", "INSECURE_HTTP": "0"}
    assert_settings(python, expected, **PRODUCTION, **given, CELERY_TASK_TIME_LIMIT="1000")


def test_production__without_https_on_demand__broker_behind_sentinel(python: Python) -> None:
    expected = {
        **dict.fromkeys(HTTPS, False),
        "SECURE_PROXY_SSL_HEADER": None,
        "SECURE_HSTS_SECONDS": 0,
        "DEBUG": False,
        "CELERY_BROKER_URL": "sentinel://s1:26379/1;sentinel://s2:26379/1",
        "CELERY_BROKER_TRANSPORT_OPTIONS": {
            "visibility_timeout": 360,
            "socket_connect_timeout": 2,
            "socket_timeout": 5,
            "master_name": "mymaster",
            "sentinel_kwargs": {"socket_timeout": 0.5, "socket_connect_timeout": 0.5, "retry": None},
        },
    }
    given = {"CELERY_BROKER_URL": "redis-sentinel://s1,s2/mymaster/1", "INSECURE_HTTP": "1"}
    assert_settings(python, expected, **{**PRODUCTION, **given})


APP = """
import json, os, subprocess, sys
from config.celery import app
found = [app.conf.broker_url, app.connection_for_write().as_uri(), app.conf.broker_transport_options]
if sys.argv[1:] != ["child"]:  # as runserver starts itself once more
    again = [sys.executable, "-c", os.environ["CODE"], "child"]
    child = subprocess.run(again, capture_output=True, text=True)
    assert json.loads(child.stdout) == found, child
print(json.dumps(found))
"""
SENTINEL = "sentinel://s1:26379/1;sentinel://[::1]:26380/1"


@pytest.mark.parametrize(
    ("given", "expected", "master"),
    [
        ("redis-sentinel://s1,[::1]:26380/mymaster/1?sentinel_password=" + SECRET, SENTINEL, "mymaster"),
        (" amqp://rabbit//\n", "amqp://rabbit//", None),
    ],
)
def test_broker__what_celery_uses_with_the_variable_set(
    python: Python, given: str, expected: str, master: str | None
) -> None:
    """Celery reads CELERY_BROKER_URL itself, and prefers it to the setting."""
    done = python(APP, **{**PRODUCTION, "CELERY_BROKER_URL": given, "CODE": APP})
    assert (done.returncode, done.stderr) == (0, "")
    url, _, options = json.loads(done.stdout)
    assert url == expected
    assert options.get("master_name") == master
    if master:
        assert options["sentinel_kwargs"]["password"] == SECRET


def test_production__deployment_checks_queues_and_health(python: Python) -> None:
    done = python(
        """
import django, json
django.setup()
from django.conf import settings
from django.core.checks import run_checks
from django.test import Client
from config import celery_app
from warmer import jobs
settings.STATIC_ROOT = "."
print(json.dumps({
    "checks": [message.id for message in run_checks(include_deployment_checks=True)],
    "consumed": sorted(celery_app.amqp.queues.consume_from),
    "used": sorted({spec.queue for spec in jobs.specs()} | {celery_app.conf.task_default_queue}),
    "tasks": sorted(celery_app.tasks),
    "statuses": [
        Client().get(path, headers={"host": "example.org"}).status_code
        for path in ("/", "/healthz", "/healthz/more")
    ],
}))
""",
        **PRODUCTION,
        DJANGO_SETTINGS_MODULE="config.settings",
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # Whether the subdomains speak HTTPS too, and for good, is for the site's owner to say.
    assert set(found["checks"]) <= {"security.W005", "security.W021"}
    # A plain worker consumes every queue of the project.
    assert found["consumed"] == found["used"] == ["default", "warming"]
    assert "warmer.start_run" in found["tasks"]
    assert found["statuses"] == [301, 200, 301]  # health is asked by plain HTTP


def test_development__needs_nothing_and_makes_its_folder(python: Python, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    expected = {
        "DEBUG": True,
        "DATABASES.default.NAME": str(folder / "db.sqlite3"),
        "CACHES.default.BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "CACHES.default.LOCATION": str(folder / "cache"),
        "CELERY_TASK_ALWAYS_EAGER": True,
        "CELERY_BROKER_URL": None,
        "ALLOWED_HOSTS": ["localhost", "127.0.0.1", "[::1]"],
    }
    assert_settings(python, expected, DJANGO_ENV="", WARMER_DATA_DIR=str(folder))
    assert folder.is_dir()


ONE = dict.fromkeys(("CACHES.default.LOCATION", "CELERY_BROKER_URL"), "redis://localhost:6379/0")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({**PRODUCTION, "DJANGO_ENV": "development"}, {**SERVERS, **SAFE, "CELERY_TASK_ALWAYS_EAGER": None}),
        ({"REDIS_URL": "redis://localhost:6379/0"}, ONE),  # it serves as cache and broker
    ],
)
def test_development__uses_the_servers_that_it_is_given(
    python: Python, given: dict[str, str], expected: dict[str, Any]
) -> None:
    assert_settings(python, expected, **given)


def test_log__has_a_line_for_an_outage_and_tracebacks_of_other_errors(python: Python) -> None:
    done = python(
        """
import django, logging
django.setup()
from django.core.cache import cache
from django_redis.exceptions import ConnectionInterrupted
assert [cache.get("key"), cache.get("key")] == [None, None]
try:
    raise ConnectionInterrupted(None) from RuntimeError("OOM")
except ConnectionInterrupted:
    logging.getLogger("django_redis.cache").exception("Exception ignored")
logging.getLogger("django.request").warning("Not Found: /favicon.ico")
""",
        DJANGO_SETTINGS_MODULE="config.settings",
        REDIS_URL="redis://127.0.0.1:1/0",
        CELERY_BROKER_URL="memory://",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("calls to it are suspended") == 1
    assert done.stderr.count("Not Found: /favicon.ico") == 1
    assert (done.stderr.count("Exception ignored"), done.stderr.count("\nRuntimeError: OOM\n")) == (1, 1)


def test_project__has_no_warning_of_any_check() -> None:
    assert run_checks() == []
