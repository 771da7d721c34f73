"""The settings modules: what each environment needs, and what it then does. Each in a new process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as test_settings
from django.core.checks import run_checks

from tests.unit.conftest import Python

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
print(json.dumps({name: getattr(settings, name, None) for name in %r.split()}, default=str))
"""


def shown(python: Python, names: str, **environment: str) -> dict[str, Any]:
    """Return settings as an environment gives them."""
    done = python(SHOW % names, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def refused(python: Python, **environment: str) -> str:
    """Return the last line of what a start that is refused says."""
    done: subprocess.CompletedProcess[str] = python("import config.settings", **environment)
    assert done.returncode == 1
    assert SECRET not in done.stderr
    last = done.stderr.splitlines()[-1]
    return last.removeprefix("django.core.exceptions.ImproperlyConfigured: ")


def test_environment__unknown(python: Python) -> None:
    message = refused(python, DJANGO_ENV="prod")

    assert message == "DJANGO_ENV is 'prod': expected one of development, production, test."


def test_production__names_all_that_is_missing(python: Python) -> None:
    assert refused(python, DJANGO_ENV="production") == (
        "These environment variables must be set in production: "
        "SECRET_KEY (a long random text, at least 50 characters); "
        "ALLOWED_HOSTS (the site's host names, separated by commas); "
        "DATABASE_URL (e.g. postgres://user:password@host:5432/name); "
        "REDIS_URL (the cache, e.g. redis://:password@host:6379/0); "
        "CELERY_BROKER_URL (the broker, another Redis that does not evict)."
    )


@pytest.mark.parametrize("name", sorted(set(PRODUCTION) - {"DJANGO_ENV"}))
def test_production__names_what_is_missing(python: Python, name: str) -> None:
    message = refused(python, **{**PRODUCTION, name: " "})

    assert message.startswith(f"These environment variables must be set in production: {name} (")
    assert message.count("(") == 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "REDIS_URL",
            f"http://:{SECRET}@cache.example.org/0",
            (
                "REDIS_URL is 'http://:***@cache.example.org/0': expected an address that begins with "
                "redis://, rediss://, unix://, redis-sentinel://."
            ),
        ),
        (
            "CELERY_BROKER_URL",
            f"redis-sentinel://:{SECRET}@s1,s2",
            (
                "CELERY_BROKER_URL is 'redis-sentinel://:***@s1,s2': expected "
                "redis-sentinel://host:26379,host2:26379/NAME-OF-THE-MASTER/DATABASE-NUMBER."
            ),
        ),
        (
            "DATABASE_URL",
            f"orakel://site:{SECRET}@db.example.org/site",
            (
                "DATABASE_URL is 'orakel://site:***@db.example.org/site': expected e.g. "
                "postgres://user:password@host:5432/name or sqlite:////absolute/path.sqlite3."
            ),
        ),
        ("REDIS_MAX_CONNECTIONS", "many", "REDIS_MAX_CONNECTIONS is 'many': expected a whole number."),
    ],
)
def test_production__names_what_cannot_be_used(python: Python, name: str, value: str, message: str) -> None:
    assert refused(python, **{**PRODUCTION, name: value}) == message


def test_production__uses_what_it_is_given(python: Python) -> None:
    found = shown(
        python,
        "SECRET_KEY ALLOWED_HOSTS CSRF_TRUSTED_ORIGINS DATABASES CACHES CELERY_BROKER_URL",
        **PRODUCTION,
        CSRF_TRUSTED_ORIGINS="https://example.org",
        REDIS_MAX_CONNECTIONS="17",
    )

    assert found["SECRET_KEY"] == PRODUCTION["SECRET_KEY"]
    assert found["ALLOWED_HOSTS"] == ["example.org", "www.example.org"]
    assert found["CSRF_TRUSTED_ORIGINS"] == ["https://example.org"]
    assert found["DATABASES"]["default"]["ENGINE"] == "django.db.backends.postgresql"
    assert found["DATABASES"]["default"]["HOST"] == "db.example.org"
    assert found["CACHES"]["default"]["LOCATION"] == PRODUCTION["REDIS_URL"]
    assert found["CACHES"]["default"]["OPTIONS"]["CONNECTION_POOL_KWARGS"]["max_connections"] == 17
    assert found["CELERY_BROKER_URL"] == PRODUCTION["CELERY_BROKER_URL"]


def test_production__broker_behind_sentinel(python: Python) -> None:
    found = shown(
        python,
        "CELERY_BROKER_URL CELERY_BROKER_TRANSPORT_OPTIONS",
        **{**PRODUCTION, "CELERY_BROKER_URL": "redis-sentinel://s1,s2/mymaster/1"},
    )

    assert found["CELERY_BROKER_URL"] == "sentinel://s1:26379/1;sentinel://s2:26379/1"
    assert found["CELERY_BROKER_TRANSPORT_OPTIONS"] == {
        "visibility_timeout": 360,
        "socket_connect_timeout": 2,
        "socket_timeout": 5,
        "master_name": "mymaster",
        "sentinel_kwargs": {"socket_timeout": 2, "socket_connect_timeout": 2, "retry": None},
    }


HTTPS = (
    "SECURE_SSL_REDIRECT SESSION_COOKIE_SECURE CSRF_COOKIE_SECURE SECURE_HSTS_SECONDS SECURE_PROXY_SSL_HEADER"
)


@pytest.mark.parametrize("insecure", ["", "0"])
def test_production__https_is_the_rule(python: Python, insecure: str) -> None:
    found = shown(python, f"DEBUG {HTTPS}", **PRODUCTION, INSECURE_HTTP=insecure)

    assert found == {
        "DEBUG": False,
        "SECURE_SSL_REDIRECT": True,
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_SECURE": True,
        "SECURE_HSTS_SECONDS": 3600,
        "SECURE_PROXY_SSL_HEADER": ["HTTP_X_FORWARDED_PROTO", "https"],
    }


def test_production__without_https_on_demand(python: Python) -> None:
    found = shown(python, f"DEBUG {HTTPS}", **PRODUCTION, INSECURE_HTTP="1")

    assert found["DEBUG"] is False
    assert not any(found.values())


@pytest.mark.parametrize("environment", [PRODUCTION, {"DJANGO_ENV": "development"}])
def test_celery__takes_plain_data_only(python: Python, environment: dict[str, str]) -> None:
    names = "CELERY_TASK_SERIALIZER CELERY_RESULT_SERIALIZER CELERY_ACCEPT_CONTENT"

    assert shown(python, names, **environment) == {
        "CELERY_TASK_SERIALIZER": "json",
        "CELERY_RESULT_SERIALIZER": "json",
        "CELERY_ACCEPT_CONTENT": ["json"],
    }


@pytest.mark.parametrize("name", ["development", "production", "test"])
def test_celery__broker_that_hangs_is_not_awaited_for_ever(python: Python, name: str) -> None:
    found = shown(python, "CELERY_BROKER_TRANSPORT_OPTIONS", **PRODUCTION | {"DJANGO_ENV": name})
    options = found["CELERY_BROKER_TRANSPORT_OPTIONS"]

    assert options["socket_connect_timeout"] == 2
    assert options["socket_timeout"] == 5


def test_celery__message_comes_again_only_after_the_longest_task(python: Python) -> None:
    done = python(
        "from config import settings\n"
        "print(settings.CELERY_BROKER_TRANSPORT_OPTIONS['visibility_timeout'],"
        " settings.CELERY_TASK_TIME_LIMIT, settings.CELERY_TASK_SOFT_TIME_LIMIT)",
        **PRODUCTION,
        CELERY_TASK_TIME_LIMIT="1000",
    )

    assert done.stdout == "1060 1000 240\n"


def test_celery__plain_worker_consumes_every_queue_of_the_project(python: Python) -> None:
    done = python(
        """
import django
django.setup()
from config import celery_app
from warmer import jobs
print(json.dumps({
    "consumed": sorted(celery_app.amqp.queues.consume_from),
    "used": sorted({spec.queue for spec in jobs.specs()} | {celery_app.conf.task_default_queue}),
    "tasks": sorted(name for name in celery_app.tasks if name.startswith("warmer.")),
}))
""".replace("import django\n", "import django, json\n", 1),
        **PRODUCTION,
        DJANGO_SETTINGS_MODULE="config.settings",
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)

    assert found["consumed"] == found["used"] == ["default", "warming"]
    assert "warmer.start_run" in found["tasks"]


def test_production__passes_djangos_checks_for_a_deployment(python: Python) -> None:
    done = python(
        """
import django
django.setup()
from django.core.checks import run_checks
for message in run_checks(include_deployment_checks=True):
    print(message.id)
""",
        **PRODUCTION,
        DJANGO_SETTINGS_MODULE="config.settings",
    )
    assert (done.returncode, done.stderr) == (0, "")

    # Whether the subdomains speak HTTPS too, and for good, is for the site's owner to say.
    assert set(done.stdout.split()) <= {"security.W005", "security.W021"}


def test_production__health_is_asked_by_plain_http(python: Python) -> None:
    done = python(
        """
import django
django.setup()
from django.conf import settings
from django.test import Client
settings.STATIC_ROOT = "."
for path in ("/", "/healthz", "/healthz/more"):
    print(path, Client().get(path, headers={"host": "example.org"}).status_code)
""",
        **PRODUCTION,
        DJANGO_SETTINGS_MODULE="config.settings",
    )

    assert done.stdout.splitlines() == ["/ 301", "/healthz 200", "/healthz/more 301"], done.stderr


def test_development__needs_nothing(python: Python, tmp_path: Path) -> None:
    found = shown(python, "DEBUG DATABASES CACHES CELERY_TASK_ALWAYS_EAGER CELERY_BROKER_URL ALLOWED_HOSTS")

    assert found["DEBUG"] is True
    assert found["DATABASES"]["default"]["NAME"] == str(tmp_path / "db.sqlite3")
    assert found["CACHES"]["default"]["BACKEND"] == "django.core.cache.backends.filebased.FileBasedCache"
    assert found["CACHES"]["default"]["LOCATION"] == str(tmp_path / "cache")
    assert found["CELERY_TASK_ALWAYS_EAGER"] is True
    assert found["CELERY_BROKER_URL"] is None
    assert "*" not in found["ALLOWED_HOSTS"]


def test_development__is_what_an_empty_name_means(python: Python) -> None:
    assert shown(python, "DEBUG", DJANGO_ENV="") == {"DEBUG": True}


def test_development__makes_its_folder(python: Python, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"

    shown(python, "DEBUG", WARMER_DATA_DIR=str(folder))

    assert folder.is_dir()


def test_development__uses_the_servers_that_it_is_given(python: Python) -> None:
    found = shown(
        python,
        "DATABASES CACHES CELERY_TASK_ALWAYS_EAGER CELERY_BROKER_URL SECRET_KEY ALLOWED_HOSTS",
        **{**PRODUCTION, "DJANGO_ENV": "development"},
    )

    assert found["DATABASES"]["default"]["HOST"] == "db.example.org"
    assert found["CACHES"]["default"]["LOCATION"] == PRODUCTION["REDIS_URL"]
    assert found["CELERY_BROKER_URL"] == PRODUCTION["CELERY_BROKER_URL"]
    assert found["CELERY_TASK_ALWAYS_EAGER"] is None
    assert found["SECRET_KEY"] == PRODUCTION["SECRET_KEY"]
    assert found["ALLOWED_HOSTS"] == ["example.org", "www.example.org"]


def test_development__one_redis_serves_as_cache_and_broker(python: Python) -> None:
    found = shown(python, "CACHES CELERY_BROKER_URL", REDIS_URL="redis://localhost:6379/0")

    assert found["CACHES"]["default"]["LOCATION"] == "redis://localhost:6379/0"
    assert found["CELERY_BROKER_URL"] == "redis://localhost:6379/0"


def test_tests__need_a_cache(python: Python) -> None:
    assert refused(python, DJANGO_ENV="test").startswith("REDIS_URL is '': expected an address")


def test_project__has_no_warning_of_any_check() -> None:
    assert run_checks() == []


def test_tests__run_with_the_settings_for_tests() -> None:
    assert test_settings.SETTINGS_MODULE == "config.settings"
    assert not test_settings.DEBUG
    assert test_settings.CELERY_TASK_ALWAYS_EAGER
