"""The developer's account for the admin."""

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
    """The account to log in with. `generated` is the password in `file`, if it is the account's."""

    username: str
    file: Path
    generated: str | None
    from_environment: bool


def ensure_admin_account() -> AdminAccount:
    """Create the admin account if it does not exist, and return it.

    Its name is `ADMIN_USERNAME` (default: `admin`). If `ADMIN_PASSWORD` is set, it becomes the password,
    even of an existing account. Otherwise a new account gets a generated password, kept in a file that only
    its owner can read.
    """
    username = os.environ.get("ADMIN_USERNAME", "").strip() or "admin"
    given = os.environ.get("ADMIN_PASSWORD", "")
    file = Path(settings.DATA_DIR) / "admin-password"
    with transaction.atomic():
        account = CustomUser.objects.select_for_update().filter(username=username).first()
        if account is None:
            # Write the file first: a lost password would be worse than an unused file.
            account = _create(username, given or _generated_password(file))
        elif not (account.is_superuser and account.is_staff and account.is_active):
            raise CommandError(
                f"The user {username!r} exists and is not an active superuser. Set ADMIN_USERNAME "
                "to another name, or make this user a superuser."
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
    """Return the password in the file; generate it if there is none."""
    kept = _read(file)
    if kept:
        return kept
    password = secrets.token_urlsafe(12)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)  # others may be able to read an existing empty file
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(f"{password}\n")
    return password


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8").strip() if file.exists() else ""
