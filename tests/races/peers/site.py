"""A Django project in which one library is tried; each is in a process of its own, as some patch the ORM."""

from importlib import import_module
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from redis import Redis

from tests.races.peers.catalogue import Peer


def try_one(peer: Peer, *, redis_url: str, folder: Path) -> dict[str, Any]:
    """Set Django up for a library, and return its verdicts."""
    given = {
        name: value.replace("{redis}", redis_url) if isinstance(value, str) else value
        for name, value in peer.settings.items()
    }
    settings.configure(**_settings(peer, redis_url, folder) | given)
    django.setup()
    # They import models, which are there only now, and declare what `migrate` installs triggers for.
    trial = import_module("tests.races.peers.race").Trial
    module, _, name = peer.means.partition(".")
    kind = getattr(import_module(f"tests.races.peers.{module}"), name)
    call_command("migrate", run_syncdb=True, verbosity=0)
    means = kind(redis_url)
    with Redis.from_url(redis_url) as server:
        return {"knows_models": means.knows_models, **trial(means, server).run()}


def _settings(peer: Peer, redis_url: str, folder: Path) -> dict[str, Any]:
    return {
        "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes", *peer.apps, "tests.races.peers"],
        "DATABASES": {
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": folder / "db.sqlite3",
                "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL;", "timeout": 20},
            }
        },
        "CACHES": {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_url}},
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "USE_TZ": True,
    }
