"""What the tests of system checks share: find messages by id, and declare jobs."""

from typing import Any

from django.core.checks import ERROR, WARNING, CheckMessage, run_checks

from warmer import warm, warm_many


def found(id: str, **options: Any) -> list[CheckMessage]:
    return [message for message in run_checks(tags=["warmer"], **options) if message.id == f"warmer.{id}"]


def assert_found(id: str, *, says: str, hint: str, **options: Any) -> None:
    """Assert that the check tells once, of something, what to do."""
    (message,) = found(id, **options)
    assert message.level == (ERROR if id.startswith("E") else WARNING)
    assert says in message.msg
    assert hint in str(message.hint)


def declare_keyed(name: str, **options: Any) -> None:
    warm_many(f"{name}:{{id}}", name=name, ids=list, **options)(dict)


def declare_single(name: str, **options: Any) -> None:
    warm(name, name=name, **options)(list)
