"""Keys on a Redis Cluster: a fence for each hash slot, next to the keys that it guards.

A script can only use keys of one slot, and is atomic only there. So the name of a fence begins with a hash
tag that maps to the slot, a token holds the state of each fence involved in a load, and a call runs one
script per slot, in one round trip to each node.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, cast

from redis.exceptions import ClusterDownError, ClusterError

from warmer.stores.claims import Token
from warmer.stores.redis import scripts
from warmer.stores.redis.cluster_client import Cluster
from warmer.stores.redis.codec import found
from warmer.stores.redis.connections import SLOTS, slot_of, tags
from warmer.stores.redis.scripts import Call, Command, Script, Sent
from warmer.stores.redis.store import RedisStore


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
        slots = {n: scripts.token_of(self.fence_of(n), each) for n, each in answers.items()}
        return Token(generation="-", slots=slots)  # no fence has this generation

    def _run(self, script: Script, calls: Mapping[int, Call]) -> dict[int, Any]:
        with self._cluster() as cluster:
            again = partial(_again, cluster, script, calls)
            return cluster.ask_each(_commands(script, calls), again=again)

    def _send(self, script: Script, calls: Mapping[int, Call]) -> Sent[int]:
        return cast(Cluster, self._codec.connect()).send(_commands(script, calls))

    def _add_whole(self, calls: Mapping[int, Call]) -> None:
        self.forget()  # for every slot: a search by node could miss a fence that is moving

    def _each(self, command: str, names: Iterable[str]) -> list[Any]:
        with self._cluster() as cluster:
            return cluster.each(command, names)

    def sweep(self) -> None:
        with self._cluster() as cluster:
            for _ in range(2):  # one pass finds a key that moved during the other
                for node in cluster.primaries():
                    for names in found(node, self._names.patterns()):
                        cluster.each("UNLINK", names)

    def _cluster(self) -> AbstractContextManager[Cluster]:
        return cast(AbstractContextManager[Cluster], self._server())


def _commands(script: Script, calls: Mapping[int, Call]) -> dict[int, tuple[int, Command]]:
    return {slot: (slot, script.command(call)) for slot, call in calls.items()}


def _again(cluster: Cluster, script: Script, calls: Mapping[int, Call], slot: int) -> Any:
    """Repeat a call of a script, and return its answer."""
    call = calls[slot]
    try:
        return cluster.execute_command("EVAL", script.text, len(call.keys), *call.keys, *call.args)
    except ClusterDownError:
        raise
    except ClusterError:
        # Redirected too often: the keys of the slot are on two nodes, for longer than redis-py retries.
        if script is scripts.WRITE:
            return b"e" * len(call.names), b"its slot is moving to another node"
        if script is scripts.FRESH:
            return b"n" * len(call.names)
        if script is not scripts.INVALIDATE:
            raise
        # They can be deleted one by one, the fence before its keys, so that every token is void.
        for key in call.keys:
            cluster.execute_command("DEL", key)
        return []
