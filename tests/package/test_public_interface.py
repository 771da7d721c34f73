"""`import warmer`: which names it offers, and how little it needs."""

import inspect
import json
import re
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.dispatch import Signal

import warmer
from tests.support.fixtures import ROOT, Python
from warmer import exceptions
from warmer.declarations import options as options_module
from warmer.declarations.options import ManyOptions, Options
from warmer.declarations.registry import Registry


def test_all__is_what_the_package_offers() -> None:
    assert set(warmer.__all__) == {
        *("warm", "warm_many", "jobs", "invalidate_for", "Report"),
        *("WarmerError", "DeclarationError", "StoreUnavailable"),
        *("keys_invalidated", "run_finished"),
    }
    assert all(hasattr(warmer, name) for name in warmer.__all__)


def test_exceptions__are_what_is_offered_django_and_python_call_them() -> None:
    for name, value in inspect.getmembers(exceptions, inspect.isclass):
        if value.__module__ == exceptions.__name__ and name != "DeclarationError":
            assert issubclass(value, warmer.WarmerError | Warning)
    for error, base in [
        (exceptions.DeclarationError, ImproperlyConfigured),
        (exceptions.InvalidId, ValueError),
        (exceptions.UnknownJob, LookupError),
    ]:
        assert issubclass(error, base)


def test_public_names__are_documented() -> None:
    for name in (name for name in warmer.__all__ if not isinstance(getattr(warmer, name), Signal | Registry)):
        assert inspect.getdoc(getattr(warmer, name)), name


@pytest.mark.parametrize(("call", "options"), [(warmer.warm, Options), (warmer.warm_many, ManyOptions)])
def test_options__are_documented(call: Callable[..., Any], options: Any) -> None:
    documented = f"{inspect.getdoc(warmer.warm)}{inspect.getdoc(call)}"
    source = inspect.getsource(options_module)

    for option in options.__annotations__:
        assert re.search(rf"\b{option}\b", documented)
        assert re.search(rf'^    {option}: .*\n    """', source, flags=re.M)


def test_import__needs_no_settings_and_no_app_registry(python: Python) -> None:
    done = python(
        """
import json, sys
import warmer
from django.apps import apps
from django.conf import settings
assert not settings.configured and not apps.apps_ready
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    )

    assert (done.returncode, done.stderr) == (0, "")
    imported = set(json.loads(done.stdout))
    assert imported.isdisjoint({"celery", "kombu", "django_celery_beat", "config", "myapp", "users"})


WITHOUT_REDIS = """
import sys
sys.modules.update(dict.fromkeys({missing}))
from django.conf import settings
settings.configure()
from warmer import warm, jobs
from warmer.stores import is_fenced

@warm("greeting")
def greeting():
    return "hello"

assert jobs["greeting"] is greeting and not is_fenced("default")
assert greeting.get() == "hello" and greeting.warm().written == 1
from django.core.cache import cache
print(cache.get("greeting"))
"""
ADMIN_WITHOUT_EXTRAS = """
import sys
extras = ["django_celery_beat", "django_redis", "msgspec", "prometheus_client", "redis"]
sys.modules.update(dict.fromkeys(extras))
import django
from django.conf import settings
apps = ["admin", "auth", "contenttypes", "messages", "sessions"]
settings.configure(INSTALLED_APPS=[*(f"django.contrib.{app}" for app in apps), "warmer"])
django.setup()
from django.contrib import admin
print(*sorted(model.__name__ for model in admin.site._registry if model._meta.app_label == "warmer"))
"""
BEFORE_THE_APPS = """
from django.apps import apps
from django.conf import settings
settings.configure()
from warmer import jobs, warm_many

@warm_many("user:{id}", ids=list, depends_on={"auth.User": "id"})
def users(ids):
    return {}

assert not apps.apps_ready
print(jobs["users"])
"""


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        (WITHOUT_REDIS.replace("{missing}", '["redis", "django_redis"]'), "hello\n"),
        (WITHOUT_REDIS.replace("{missing}", '["django_redis"]'), "hello\n"),
        (ADMIN_WITHOUT_EXTRAS, "CacheAudit Job WarmingRun\n"),
        (BEFORE_THE_APPS, "<KeyedJob users 'user:{id}'>\n"),
    ],
    ids=["without redis", "without django-redis", "the admin without the extras", "before the apps are ready"],
)
def test_declaration__works(python: Python, code: str, printed: str) -> None:
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")


def test_package__ships_its_scripts_and_says_that_it_has_types() -> None:
    package = ROOT / "warmer"
    assert (package / "py.typed").is_file()
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    shipped = setuptools["package-data"]["warmer"]

    scripts = {path for kind in ("*.lua", "*.sql") for path in package.rglob(kind)}
    assert scripts
    assert scripts <= {path for pattern in shipped for path in package.glob(pattern)}
