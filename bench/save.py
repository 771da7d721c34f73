"""Saving users: what invalidation adds to a save, against the usual handler with one `cache.delete`.

SQLite commits without waiting for the disk here, and is in this very process: with a database behind a
network a save takes longer, and what invalidation adds weighs less.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.db.models.signals import post_save, pre_save

from bench.measure import Benchmark, Comparison, Contender
from bench.profiles import create_users, declare_job, key_of
from users.models import CustomUser
from warmer import outbox, receivers
from warmer.jobs import KeyedJob

AUTOCOMMIT = "in autocommit"
ATOMIC = "in atomic, a transaction each"
HANDLER = "bench.delete_profile"

Connect = Callable[[], None]


def benchmark(rows: int) -> Benchmark:
    """Return who saves: with warmer's receivers, with the handler, or with neither."""
    create_users(rows)
    users = list(CustomUser.objects.all())
    job = declare_job()
    contenders = []
    comparisons = []
    for way, group, run in (("plain", AUTOCOMMIT, _save), ("atomic", ATOMIC, _save_atomic)):
        kinds: dict[str, tuple[str, Connect]] = {
            "warmer": ("warmer", partial(_warmer, job)),
            "handler": ("post_save handler: cache.delete", _handler),
            "bare": ("no invalidation at all", _neither),
        }
        if run is _save_atomic:
            kinds["unkept"] = ("warmer, not durable", partial(_warmer, job, durable=False))
        contenders += [
            Contender(
                name=f"{kind}_{way}",
                title=title,
                group=group,
                run=partial(run, users),
                operations=rows,
                prepare=partial(_prepare, job, connect),
                verify=partial(_verify, users, gone=kind != "bare"),
            )
            for kind, (title, connect) in kinds.items()
        ]
        # With the durable row it does more than the handler: it loses nothing when a process is killed.
        target = 1.3 if run is _save else None
        comparisons += [
            Comparison(subject=f"warmer_{way}", against=f"handler_{way}", kind="cost", target=target),
            Comparison(subject=f"warmer_{way}", against=f"bare_{way}", kind="cost"),
            Comparison(subject=f"handler_{way}", against=f"bare_{way}", kind="cost"),
        ]
    comparisons.append(Comparison(subject="unkept_atomic", against="handler_atomic", kind="cost", target=1.3))
    return Benchmark(operation="save", shows="time", contenders=contenders, comparisons=comparisons)


def _save(users: list[CustomUser]) -> None:
    for user in users:
        user.activity += 1
        user.save()


def _save_atomic(users: list[CustomUser]) -> None:
    for user in users:
        user.activity += 1
        with transaction.atomic():
            user.save()


def _delete_profile(sender: Any, instance: CustomUser, **_: Any) -> None:
    cache.delete(key_of(instance.pk))


def _prepare(job: KeyedJob[Any], connect: Connect) -> None:
    # Before the handlers: every save finds its key cached, and a fence that a fill has used.
    job.warm()
    connect()


def _warmer(job: KeyedJob[Any], *, durable: bool = True) -> None:
    _neither()
    settings.WARMER_DURABLE_INVALIDATION = durable
    receivers.listen(job.spec)
    if not post_save.has_listeners(CustomUser):
        raise AssertionError("warmer does not hear of saves")


def _handler() -> None:
    _neither()
    post_save.connect(_delete_profile, sender=CustomUser, dispatch_uid=HANDLER)


def _neither() -> None:
    for signal in (pre_save, post_save):
        for uid in (HANDLER, receivers.UID):
            signal.disconnect(sender=CustomUser, dispatch_uid=uid)
        if signal.has_listeners(CustomUser):
            raise AssertionError("somebody else still hears of saves")


def _verify(users: list[CustomUser], *, gone: bool) -> None:
    cached = len(cache.get_many([key_of(user.pk) for user in users]))
    if cached != (0 if gone else len(users)):
        raise AssertionError(f"{cached} of {len(users)} profiles are still cached")
    if outbox.backlog().count:
        raise AssertionError("invalidations were kept, but not applied")
