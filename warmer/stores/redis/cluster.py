"""Keys on a Redis Cluster: a fence for each hash slot, next to the keys that it guards.

A script can only use keys of one slot, and is atomic only there. So the name of a fence begins with a hash
tag that maps to the slot, a token holds the state of each fence involved in a load, and a call runs one
script per slot, in one round trip to each node.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from warmer.stores.claims import Token
from warmer.stores.redis import scripts
from warmer.stores.redis.cluster_client import Cluster
from warmer.stores.redis.codec import found
from warmer.stores.redis.connections import SLOTS, slot_of, tags
from warmer.stores.redis.scripts import Call, Script, Sent
from warmer.stores.redis.store import RedisStore


@dataclass(frozen=True, kw_only=True)
class ClusterToken(Token):
    """The states of the fences of some slots."""

    generation: str = "-"  # no fence has it
    slots: Mapping[int, Token]


class ClusterStore(RedisStore):
    """One job's keys on a Redis Cluster. The full guarantees hold here."""

    slots = SLOTS

    def fence_of(self, slot: int) -> str:
        return f"{{{tags()[slot]}}}{self.fence_key}"

    def _by_slot(self, keys: Collection[str]) -> Mapping[int, list[str]]:
        slots = defaultdict(list)
        for key, name in zip(keys, self._names.made(keys), strict=True):
            slots[slot_of(name)].append(key)
        return slots

    def _token(self, answers: Mapping[int, Any]) -> Token:
        slots = {n: scripts.token_of(self.fence_of(n), each, self.damages) for n, each in answers.items()}
        return ClusterToken(slots=slots)

    def _taken(self, token: Token, slot: int) -> list[Any]:
        # Readers see the token of a single fence.
        taken = token.slots.get(slot, token) if isinstance(token, ClusterToken) else token
        return super()._taken(taken, slot)

    def _run(self, script: Script, calls: Mapping[int, Call]) -> dict[int, Any]:
        with self._cluster() as cluster:
            return cluster.run_each(script, calls, moving=partial(_while_moving, cluster, script))

    def _send(self, script: Script, calls: Mapping[int, Call]) -> Iterator[tuple[Sequence[int], Sent]]:
        cluster, slots = cast(Cluster, self._codec.connect()), list(calls)
        commands = [(slot, script.command(call)) for slot, call in calls.items()]
        for indexes, sent in cluster.send(commands):
            yield [slots[index] for index in indexes], sent

    def _add_whole(self, calls: Mapping[int, Call]) -> None:
        self.forget()  # for every slot: a search by node could miss a fence that is moving

    def _each(self, command: str, names: Iterable[str]) -> list[Any]:
        with self._cluster() as cluster:
            return cluster.ask_each([(slot_of(name), (command, name)) for name in names])

    def sweep(self) -> None:
        with self._cluster() as cluster:
            for _ in range(2):  # one pass finds a key that moved during the other
                for node in cluster.primaries():
                    for names in found(node, self._names.patterns()):
                        cluster.ask_each([(slot_of(name), ("UNLINK", name)) for name in names])

    def _cluster(self) -> AbstractContextManager[Cluster]:
        return cast(AbstractContextManager[Cluster], self._server())


def _while_moving(cluster: Cluster, script: Script, call: Call) -> Any:
    """Return a script's answer for a slot whose keys are on two nodes; None: there is no answer."""
    if script is scripts.WRITE:
        return b"e" * len(call.names), b"its slot is moving to another node"
    if script is scripts.FRESH:
        return b"n" * len(call.names)
    if script is scripts.INVALIDATE:
        # They can be deleted one by one, the fence before its keys, so that every token is void.
        for key in call.keys:
            cluster.execute_command("DEL", key)
        return []
    return None
