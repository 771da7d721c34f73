"""Keys on a Redis Cluster: a fence for each hash slot, beside the keys that it guards.

A script can only use keys of one slot, and is atomic only there. So the name of a fence begins with a hash
tag that leads to the slot, a token holds the state of the fence of each slot that a load is about, and a call
is one script for each slot, sent in one round trip to each node.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, cast

from warmer.conf import conf
from warmer.report import Outcome
from warmer.stores.base import Done, Invalidation, UnderWay, Written
from warmer.stores.claims import Claim, Token
from warmer.stores.redis import scripts
from warmer.stores.redis.cluster_calls import SLOTS, Cluster, slot_of, tags
from warmer.stores.redis.codec import Encoded, encode_all, found
from warmer.stores.redis.store import RedisStore

# No fence is of this generation.
REFUSED = Token(generation="-")


@dataclass(frozen=True, kw_only=True)
class ClusterToken(Token):
    """The states of the fences of some slots."""

    generation: str = "-"
    slots: Mapping[int, Token]


class ClusterStore(RedisStore):
    """One job's keys on a Redis Cluster. The full guarantees hold here."""

    def fence_of(self, slot: int) -> str:
        """Return what the cluster calls the fence of a slot."""
        return f"{{{tags()[slot]}}}{self.fence_key}"

    def token(self, keys: Collection[str]) -> Token:
        fences = {slot: self.fence_of(slot) for slot in self._by_slot(keys)}
        args = self._token_args()
        with self._cluster() as cluster:
            answers = cluster.run_each(scripts.TOKEN, {slot: ([fences[slot]], args) for slot in fences})
            return self._tokens(cluster, answers)

    def _claim(self, keys: Mapping[str, bytes], id: str, seconds: float) -> Claim:
        by_slot = {slot: {key: keys[key] for key in some} for slot, some in self._by_slot(keys).items()}
        calls = {
            slot: self._claim_call(self.fence_of(slot), some, id, seconds) for slot, some in by_slot.items()
        }
        with self._cluster() as cluster:
            answers = cluster.run_each(scripts.CLAIM, calls)
            token = self._tokens(cluster, answers)
        asked = [(some, answers[slot]) for slot, some in by_slot.items()]
        return self._claimed(asked, token, id, seconds)

    def _tokens(self, cluster: Cluster, answers: Mapping[int, Any]) -> Token:
        slots = {
            slot: scripts.token_of(self.fence_of(slot), answer, cluster, self.damages)
            for slot, answer in answers.items()
        }
        return ClusterToken(slots=slots)

    def write(
        self,
        token: Token,
        values: Mapping[str, Any],
        absent: Collection[str] = (),
        *,
        claim: Claim | None = None,
    ) -> Written:
        absences, mine = dict.fromkeys(absent), dict.fromkeys(claim.mine if claim else ())
        encoded = encode_all(values, self._codec.encode)
        calls = {
            slot: self._call(
                self.fence_of(slot),
                cast(ClusterToken, token).slots.get(slot, REFUSED),
                Encoded(values={key: encoded.values[key] for key in keys if key in encoded.values}),
                [key for key in keys if key in absences],
                replace(claim, mine=tuple(key for key in keys if key in mine)) if claim else None,
            )
            for slot, keys in self._by_slot({**encoded.values, **absences, **mine}).items()
        }
        sent = {slot: (call.keys, call.args) for slot, call in calls.items()}

        def moving(slot: int) -> tuple[bytes, bytes]:
            return b"e" * len(calls[slot].names), b"its slot is moving to another node"

        with self._cluster() as cluster:
            answers = cluster.run_each(scripts.WRITE, sent, moving=moving)
        outcomes, errors = dict.fromkeys(encoded.errors, Outcome.FAILED), dict(encoded.errors)
        for slot, call in calls.items():
            written = call.read(answers[slot])
            outcomes |= written.outcomes
            errors |= written.errors
        return Written(outcomes=outcomes, errors=errors, encode_seconds=encoded.seconds)

    def begin_write(
        self, token: Token, values: Mapping[str, Any], absent: Collection[str] = ()
    ) -> UnderWay[Written]:
        return Done(result=self.write(token, values, absent))

    @classmethod
    def invalidate_together(cls, invalidations: Sequence[Invalidation]) -> None:
        calls: dict[int, scripts.InvalidateCall] = defaultdict(
            lambda: scripts.InvalidateCall(conf.FENCE_RECORDS)
        )
        stores = [cast(ClusterStore, each.store) for each in invalidations]
        whole: list[ClusterStore] = []
        for store, each in zip(stores, invalidations, strict=True):
            if each.keys is None and store.template.keyed:
                whole.append(store)
                continue
            names = each.keys if each.keys is not None else [store.template.key()]
            for slot, keys in store._by_slot(names).items():
                calls[slot].add(store.fence_of(slot), keys, store._names.server_keys(keys))
        if calls:
            stores[0]._invalidate(calls)
        for store in whole:
            store.forget()

    def _invalidate(self, calls: Mapping[int, scripts.InvalidateCall]) -> None:
        with self._cluster() as cluster:

            def moving(slot: int) -> list[bytes]:
                # One by one they can be deleted, the fence before its keys: so every token is void.
                for key in calls[slot].keys:
                    cluster.execute_command("DEL", key)
                return []

            sent = {slot: (call.keys, call.args) for slot, call in calls.items()}
            for damaged in cluster.run_each(scripts.INVALIDATE, sent, moving=moving).values():
                self.damages.note(cluster, damaged)

    def forget(self, keys: Collection[str] | None = None) -> None:
        # Of every slot there is, since a search node by node would miss a fence that moves meanwhile.
        slots: Iterable[int] = SLOTS if keys is None else self._by_slot(keys)
        with self._cluster() as cluster:
            cluster.ask_each([(slot, ("DEL", self.fence_of(slot))) for slot in slots])

    def fresh(self, keys: Sequence[str], *, seconds: float) -> Collection[str]:
        least = int(seconds * 1000)
        return [key for key, ms in self._milliseconds_left(keys).items() if ms == -1 or ms >= least]

    def _milliseconds_left(self, keys: Sequence[str]) -> dict[str, int]:
        commands = [(slot_of(name), ("PTTL", name)) for name in self._names.made(keys)]
        with self._cluster() as cluster:
            return dict(zip(keys, cluster.ask_each(commands), strict=True))

    def overtaken(self, token: Token, keys: Sequence[str]) -> set[str]:
        tokens, by_slot = cast(ClusterToken, token).slots, self._by_slot(keys)
        calls = {}
        for slot, some in by_slot.items():
            taken = tokens.get(slot, REFUSED)
            calls[slot] = ([self.fence_of(slot)], [taken.generation, taken.counter, *some])
        with self._cluster() as cluster:
            answers = cluster.run_each(scripts.OVERTAKEN, calls)
        return {
            key
            for slot, some in by_slot.items()
            for key, letter in zip(some, answers[slot].decode(), strict=True)
            if letter == "f"
        }

    def sweep(self) -> None:
        with self._cluster() as cluster:
            for _ in range(2):  # a key that moves while one pass looks for it is found by the other
                for node in cluster.primaries():
                    for names in found(node, self._names.patterns()):
                        cluster.ask_each([(slot_of(name), ("UNLINK", name)) for name in names])

    def _by_slot(self, keys: Collection[str]) -> dict[int, list[str]]:
        slots = defaultdict(list)
        for key, name in zip(keys, self._names.made(keys), strict=True):
            slots[slot_of(name)].append(key)
        return slots

    def _cluster(self) -> AbstractContextManager[Cluster]:
        return cast(AbstractContextManager[Cluster], self._server())
