"""Which libraries are tried, and in which of their own ways."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

QUERYSETS = {"peers.article": {"ops": {"get", "fetch"}, "timeout": 3600}}
# Functions only: a queryset that is cached inside a cached function would be another race.
FUNCTIONS = {"peers.article": {"timeout": 3600}}


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One way of using one library.

    Attributes:
        way: how it is used, as its documentation says.
        means: the class in `tests.races.peers` that does so, as `module.Class`.
        settings: what it needs of Django's settings. `{redis}` in a text is the server's address.
    """

    distribution: str
    way: str
    means: str
    apps: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def cacheops(way: str, means: str, cached: Mapping[str, Any], *, insideout: bool = False) -> Peer:
    return Peer(
        distribution="django-cacheops",
        way=way,
        means=f"with_cacheops.{means}",
        apps=("cacheops",),
        settings={"CACHEOPS_REDIS": "{redis}", "CACHEOPS": cached, "CACHEOPS_INSIDEOUT": insideout},
    )


def cacheback(way: str, means: str) -> Peer:
    return Peer(distribution="django-cacheback", way=way, means=f"with_cacheback.{means}", apps=("cacheback",))


def cashews(way: str, means: str) -> Peer:
    return Peer(distribution="cashews", way=way, means=f"with_cashews.{means}")


def dogpile(way: str, means: str) -> Peer:
    return Peer(distribution="dogpile.cache", way=way, means=f"with_dogpile.{means}")


def warmer(way: str, *, capture: str) -> Peer:
    return Peer(
        distribution="warmer",
        way=way,
        means="with_warmer.Warmer",
        apps=("warmer",),
        settings={"WARMER_CAPTURE": capture},
    )


PEERS = (
    cacheback("`Job`, `delete` in a signal handler", "Deleting"),
    cacheback("`Job`, `invalidate` in a signal handler", "Invalidating"),
    cacheops("cached querysets", "Querysets", QUERYSETS),
    cacheops("cached querysets, `CACHEOPS_INSIDEOUT`", "Querysets", QUERYSETS, insideout=True),
    cacheops("`@cached_as`", "CachedAs", FUNCTIONS),
    cacheops("`@cached_as(keep_fresh=True)`", "KeptFresh", FUNCTIONS),
    cacheops("`@cached_as(keep_fresh=True)`, `CACHEOPS_INSIDEOUT`", "KeptFresh", FUNCTIONS, insideout=True),
    Peer(
        distribution="django-cachalot",
        way="every query, as it comes",
        means="with_cachalot.Cachalot",
        apps=("cachalot",),
    ),
    dogpile("`cache_on_arguments`, `invalidate` of the key", "OfTheKey"),
    dogpile("`cache_on_arguments`, `region.invalidate`", "OfTheRegion"),
    cashews("`@cache`, `delete`", "Plain"),
    cashews("`@cache(lock=True)`, `delete`", "Locked"),
    cashews("`@cache.early`, `delete`", "Early"),
    cashews("`@cache(tags=...)`, `delete_tags`", "Tagged"),
    cashews("`@cache` in `cache.transaction()`, `delete`", "InTransaction"),
    warmer("`@warm_many`, changes captured by signals", capture="signals"),
    warmer("`@warm_many`, changes captured by triggers", capture="triggers"),
)
