"""Stores: the only code that touches a cache."""

from warmer.stores.base import Cached, Invalidation, Peeked, Store, Written
from warmer.stores.choice import (
    invalidate_together,
    is_fenced,
    keeps_nothing,
    open_server,
    open_store,
    why_unusable,
)
from warmer.stores.claims import Claim, Record
from warmer.stores.counts import Counted, PanelResult, Recent, Tallies
from warmer.stores.places import place_of, share_keys
from warmer.stores.token import Token
from warmer.stores.under_way import UnderWay

__all__ = [
    "Cached",
    "Claim",
    "Counted",
    "Invalidation",
    "PanelResult",
    "Peeked",
    "Recent",
    "Record",
    "Store",
    "Tallies",
    "Token",
    "UnderWay",
    "Written",
    "invalidate_together",
    "is_fenced",
    "keeps_nothing",
    "open_server",
    "open_store",
    "place_of",
    "share_keys",
    "why_unusable",
]
