"""Stores: the only code that touches a cache."""

from warmer.stores.base import Cached, Claim, Invalidation, Peeked, Record, Store, Token, UnderWay, Written
from warmer.stores.counters import Counted, in_sample
from warmer.stores.factory import (
    invalidate_together,
    is_fenced,
    is_local,
    keeps_nothing,
    open_servers,
    open_store,
    pickles,
    why_unusable,
)
from warmer.stores.identity import (
    Incarnation,
    describe_cache,
    difference,
    incarnation_of,
    name_here,
    place_of,
    share_keys,
    varying_names,
)
from warmer.stores.inspection import Place, Server
