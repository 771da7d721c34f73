"""The keys themselves: those that never go, and those that are too big. Sampled by SCAN."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from warmer.doctor.check import CacheCheck
from warmer.doctor.finding import Finding, NotApplicable, info, ok, warning
from warmer.doctor.project import Cache, Project
from warmer.doctor.words import MB, command, option
from warmer.humanize import counted, percent, size
from warmer.stores.looks import KeySeen

# A few keys may be meant to stay; a share of this size fills the memory.
MANY = 0.05
BIG = MB
SHOWN = 3
SHOWN_CHARACTERS = 60
# A session's key, a token or a hash: not for a report.
_SECRET = re.compile(r"[0-9A-Za-z]{20,}")
_NUMBER = re.compile(r"\d+")
# What Celery keeps in the database of its broker, for good: beside each queue's list there is a binding.
_OF_CELERY = re.compile(r"_kombu\.|unacked")
BINDING = "_kombu.binding."


@dataclass(frozen=True)
class KeysWithoutTtl(CacheCheck):
    """Every key goes at some time."""

    id = "keys-without-ttl"

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        seen = _sampled(cache)
        staying = [key for key in seen if key.seconds is None]
        if not staying:
            yield ok(f"none in a sample of {counted(len(seen), 'key')}")
            return
        place = cache.redis.place
        endless = cache.options.get("TIMEOUT", 300) is None
        fix = (
            f"{option(cache.alias, 'TIMEOUT', value='3600')}\nfor what is set without a timeout (it is None "
            "now)."
            if endless
            else "cache.set(key, value, timeout=3600)\nin the code that writes them with timeout=None now."
        )
        share = len(staying) / len(seen)
        found = (
            f"{len(staying):,} of {counted(len(seen), 'sampled key')} ({percent(share)}) have no TTL: "
            f"{_forms(staying)}."
        )
        why = (
            "They are never removed by time: the memory fills, and with a volatile-* policy or noeviction "
            "they never go."
        )
        fix = f"{fix}\nFor those that are there:\n{command(place, 'EXPIRE KEY 86400')}"
        yield warning(found, why=why, fix=fix) if share >= MANY else info(found, why=why, fix=fix)


@dataclass(frozen=True)
class BigKeys(CacheCheck):
    """No key is so big that it holds up the others."""

    id = "big-keys"

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        seen = _sampled(cache)
        sized = [key for key in seen if key.bytes is not None]
        if not sized:
            raise NotApplicable("the server does not allow MEMORY USAGE to this user")
        big = sorted((key for key in sized if _bytes(key) >= BIG), key=_bytes, reverse=True)
        if not big:
            largest = max(sized, key=_bytes)
            yield ok(f"the biggest of {counted(len(sized), 'sampled key')} has {size(_bytes(largest))}")
            return
        shown = ", ".join(f"{shown_name(key.name)} ({size(_bytes(key))})" for key in big[:SHOWN])
        more = f" and {len(big) - SHOWN:,} more" if len(big) > SHOWN else ""
        yield warning(
            f"{counted(len(big), 'key')} of {len(sized):,} sampled with over {size(BIG)}: {shown}{more}.",
            why="Each read sends it whole over the network and decodes it, and meanwhile the server "
            "answers nobody else.",
            fix='@warm_many("KEY:{id}", ...)\na key for each part that a page needs, in place of one with '
            f"everything. This lists all:\n{command(cache.redis.place, '--bigkeys')}",
        )


def shown_name(name: str) -> str:
    """Return a key's name for a report: short, and without what may be a secret."""
    text = _SECRET.sub("*", name)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _sampled(cache: Cache) -> Sequence[KeySeen]:
    found = cache.redis.sample.keys
    queues = {key.name.removeprefix(BINDING) for key in found if key.name.startswith(BINDING)}
    own = [key for key in found if not _OF_CELERY.match(key.name) and key.name not in queues]
    if not own:
        raise NotApplicable("the database holds no key")
    return own


def _forms(keys: Sequence[KeySeen]) -> str:
    """Return the commonest forms of names, with `*` for what differs."""
    forms = Counter(_NUMBER.sub("*", shown_name(key.name)) for key in keys)
    common = [f"{form} ({count:,})" for form, count in forms.most_common(SHOWN)]
    return ", ".join(common) + (", ..." if len(forms) > SHOWN else "")


def _bytes(key: KeySeen) -> int:
    return key.bytes or 0
