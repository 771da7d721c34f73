"""What the commands say, before they begin, of a cache that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.conftest import Python

COMMANDS = ["warm_cache", "cache_audit", "cache_stats", "cache_benchmark", "warm_schedule"]


@pytest.mark.parametrize("command", COMMANDS)
def test_backend__that_is_misspelt_is_one_clear_line(python: Python, tmp_path: Path, command: str) -> None:
    (tmp_path / "misspelt_settings.py").write_text(
        "from config.settings import *\n"
        "CACHES = {'default': {'BACKEND': 'django_redis.cache.RedisCach', 'LOCATION': 'redis://x'}}\n"
    )
    done = python(
        f"from django.core.management import execute_from_command_line as do\ndo(['manage.py', '{command}'])",
        DJANGO_SETTINGS_MODULE="misspelt_settings",
    )

    assert done.returncode == 1
    assert done.stderr == (
        "CommandError: The cache 'default' (django_redis.cache.RedisCach) cannot be used: "
        "InvalidCacheBackendError: Could not find backend 'django_redis.cache.RedisCach': Module "
        '"django_redis.cache" does not define a "RedisCach" attribute/class. '
        "See 'manage.py cache_doctor'.\n"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_setting__that_is_wrong_is_named(python: Python, tmp_path: Path, command: str) -> None:
    (tmp_path / "wrong_settings.py").write_text("from config.settings import *\nWARMER_CACHE = 'misspelt'\n")
    done = python(
        f"from django.core.management import execute_from_command_line as do\ndo(['manage.py', '{command}'])",
        DJANGO_SETTINGS_MODULE="wrong_settings",
    )

    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert "WARMER_CACHE = 'misspelt': expected a name in CACHES: 'default'" in done.stderr
