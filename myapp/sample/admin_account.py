"""The account that a developer logs in to the admin with."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.db import transaction

from users.models import CustomUser


@dataclass(frozen=True, kw_only=True)
class AdminAccount:
    """Who to log in as. `generated` is the password in `file`, if that is the one that works."""

    username: str
    file: Path
    generated: str | None
    from_environment: bool


def ensure_admin_account() -> AdminAccount:
    """Create the admin account if it is missing, and return who to log in as.

    Its name is `ADMIN_USERNAME` (default: `admin`). Its password is `ADMIN_PASSWORD`, also for an
    account that exists; without it a password is generated once and kept in a file that only its
    owner can read. The password of an existing account is not changed otherwise.
    """
    username = os.environ.get("ADMIN_USERNAME", "").strip() or "admin"
    given = os.environ.get("ADMIN_PASSWORD", "")
    file = Path(settings.DATA_DIR) / "admin-password"
    with transaction.atomic():
        account = CustomUser.objects.select_for_update().filter(username=username).first()
        if account is None:
            # The file is written first: an account whose password is lost is the worse half.
            account = _create(username, given or _generated_password(file))
        elif not (account.is_superuser and account.is_staff and account.is_active):
            raise CommandError(
                f"The user {username!r} exists and is not an active superuser. Set ADMIN_USERNAME "
                "to another name, or make this user a superuser yourself."
            )
        elif given and not account.check_password(given):
            account.set_password(given)
            account.save(update_fields=["password"])
    kept = None if given else _read(file)
    return AdminAccount(
        username=username,
        file=file,
        generated=kept if kept and account.check_password(kept) else None,
        from_environment=bool(given),
    )


def _create(username: str, password: str) -> CustomUser:
    account = CustomUser(username=username, email=f"{username}@example.org", is_staff=True, is_superuser=True)
    account.set_password(password)
    try:
        account.full_clean()
    except ValidationError as error:
        raise CommandError(f"ADMIN_USERNAME {username!r}: {' '.join(error.messages)}") from None
    account.save()
    return account


def _generated_password(file: Path) -> str:
    """Return the password kept in the file, which is written if it is not there."""
    kept = _read(file)
    if kept:
        return kept
    password = secrets.token_urlsafe(12)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)  # an empty one may be readable by others
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(f"{password}\n")
    return password


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8").strip() if file.exists() else ""
