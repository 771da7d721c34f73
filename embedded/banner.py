"""What one sees when the site is up."""

from __future__ import annotations

import os
from collections.abc import Mapping

from embedded.plan import USUAL_DATA_DIR, Plan
from embedded.redis_server import RedisServer

RULE = "-" * 78
PASSWORD_FILE = "admin-password"  # noqa: S105 - a file name


def banner(plan: Plan, environment: Mapping[str, str], *, started: Mapping[str, RedisServer]) -> str:
    """Return the lines that say where everything is and how to stop it."""
    rows = {
        "Site": plan.address,
        "Admin": f"{plan.address}admin/",
        "Log in as": _login(plan, environment),
    }
    for server in plan.servers:
        # An address that the user gave may hold a password.
        url = started[server.name].url() if server.name in started else f"as in {server.variable}"
        rows[f"{server.name.capitalize()} server"] = url
    lines = [RULE, *(f"  {name + ':':<16}{text}" for name, text in rows.items()), ""]
    # Another terminal knows of the usual folder only.
    where = "" if plan.data_dir == USUAL_DATA_DIR else f"WARMER_DATA_DIR={plan.data_dir} "
    lines += [
        "  While this runs, `manage.py` in other terminals reaches the same servers, e.g.",
        f"  {where}.venv/bin/python manage.py warm_cache",
        "",
        "  Ctrl-C stops all of it.",
        RULE,
    ]
    return "\n".join(lines)


def _login(plan: Plan, environment: Mapping[str, str]) -> str:
    username = environment.get("ADMIN_USERNAME") or "admin"
    if environment.get("ADMIN_PASSWORD"):
        return f"{username}, with the password in ADMIN_PASSWORD"
    file = plan.data_dir / PASSWORD_FILE
    try:
        return f"{username}, password {file.read_text().strip()} (kept in {os.path.relpath(file)})"
    except OSError:
        return f"{username}, with the password you gave that account"
