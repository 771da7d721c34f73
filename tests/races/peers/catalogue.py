"""Which libraries are tried, and in which of their own ways."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

QUERYSETS = {"peers.article": {"ops": {"get", "fetch"}, "timeout": 3600}}
# Functions only: a queryset that is cached inside a cached function would be another race.
FUNCTIONS = {"peers.article": {"timeout": 3600}}


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One way of using one library."""

    distribution: str
    way: str
    means: str  # the class in `tests.races.peers` that does so, as `module.Class`
    apps: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)  # with `{redis}` for the server's address


def peer(distribution: str, way: str, means: str, **settings: Any) -> Peer:
    """Return a peer whose module here, and whose app if it has one, are named after its distribution."""
    name = distribution.removeprefix("django-").partition(".")[0]
    apps = () if name in ("cashews", "dogpile") else (name,)
    return Peer(distribution=distribution, way=way, means=f"with_{name}.{means}", apps=apps, settings=settings)


def cacheops(way: str, means: str, cached: Mapping[str, Any], *, insideout: bool = False) -> Peer:
    settings = {"CACHEOPS_REDIS": "{redis}", "CACHEOPS": cached, "CACHEOPS_INSIDEOUT": insideout}
    return peer("django-cacheops", way, means, **settings)


PEERS = (
    peer("django-cacheback", "`Job`, `delete` in a signal handler", "Deleting"),
    peer("django-cacheback", "`Job`, `invalidate` in a signal handler", "Invalidating"),
    cacheops("cached querysets", "Querysets", QUERYSETS),
    cacheops("cached querysets, `CACHEOPS_INSIDEOUT`", "Querysets", QUERYSETS, insideout=True),
    cacheops("`@cached_as`", "CachedAs", FUNCTIONS),
    cacheops("`@cached_as(keep_fresh=True)`", "KeptFresh", FUNCTIONS),
    cacheops("`@cached_as(keep_fresh=True)`, `CACHEOPS_INSIDEOUT`", "KeptFresh", FUNCTIONS, insideout=True),
    peer("django-cachalot", "every query, as it comes", "Cachalot"),
    peer("dogpile.cache", "`cache_on_arguments`, `invalidate` of the key", "OfTheKey"),
    peer("dogpile.cache", "`cache_on_arguments`, `region.invalidate`", "OfTheRegion"),
    peer("cashews", "`@cache`, `delete`", "Plain"),
    peer("cashews", "`@cache(lock=True)`, `delete`", "Locked"),
    peer("cashews", "`@cache.early`, `delete`", "Early"),
    peer("cashews", "`@cache(tags=...)`, `delete_tags`", "Tagged"),
    peer("cashews", "`@cache` in `cache.transaction()`, `delete`", "InTransaction"),
    peer("warmer", "`@warm_many`, changes captured by signals", "Warmer", WARMER_CAPTURE="signals"),
    peer("warmer", "`@warm_many`, changes captured by triggers", "Warmer", WARMER_CAPTURE="triggers"),
)
