"""The store on a Redis Cluster: the contract, and what moving slots and lost nodes do to it."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache, caches
from redis import Connection
from redis.cluster import ClusterNode
from redis.exceptions import ClusterCrossSlotError, ResponseError

from config.redis_url import cache_settings
from embedded.redis_server import RedisCluster
from embedded.waiting import wait_until
from tests.package.doctor.tls import CERTIFICATE, in_front_of
from tests.package.stores.contract import FencedContract
from tests.support.clusters import cluster_caches
from tests.support.stores import SUPERSEDED, WRITTEN, answers, fill, invalidate_all, open_things
from warmer.exceptions import NodeOfCluster, StoreUnavailable
from warmer.report import Outcome
from warmer.stores import Claim, Token, breaker, incarnation_of
from warmer.stores.breaker import Breaker
from warmer.stores.redis import codec
from warmer.stores.redis.connections import SLOTS, failed, slot_of, tags


def test_tags__lead_to_their_slots() -> None:
    assert {slot: slot_of(f"{{{tag}}}:anything{{else}}") for slot, tag in tags().items()} == {
        slot: slot for slot in SLOTS
    }


@pytest.mark.parametrize("answer", ["MOVED 866 127.0.0.1:7000", "CLUSTERDOWN The cluster is down"])
def test_node__found_by_a_redis_py_5_that_has_no_class_for_its_answer(answer: str) -> None:
    error = failed("default", None, ResponseError(answer), Breaker("The cache 'default'"))
    assert isinstance(error, NodeOfCluster)


class TestCluster(FencedContract):
    @pytest.fixture
    def caches(self, cluster: RedisCluster) -> dict[str, Any]:
        return cluster_caches(cluster)

    @pytest.fixture
    def redis_client(self, _use: None) -> Any:
        return cache.client.get_client()

    def token_of(self, claim: Claim, key: str) -> Token:
        token: Any = claim.token
        return token.slots[slot_of(f":1:{key}")]

    def test_write__is_one_trip_to_each_node_whose_answers_may_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store, keys = open_things(), [f"thing:{id}" for id in range(200)]
        store.write(store.token(keys), dict.fromkeys(keys, 1))
        token, calls = store.token(keys), list[tuple[str, int]]()

        def count(name: str) -> None:
            call = getattr(Connection, name)

            def counted(connection: Any, *args: Any, **options: Any) -> Any:
                calls.append((name, connection.port))
                return call(connection, *args, **options)

            monkeypatch.setattr(Connection, name, counted)

        count("send_packed_command")
        count("read_response")
        writing = store.begin_write(token, dict.fromkeys(keys, 2))
        assert len(calls) == len(set(calls)) == 3
        assert set(writing.end().outcomes.values()) == {WRITTEN}
        assert store.lookup(keys).values == dict.fromkeys(keys, 2)
        calls.clear()
        store.write(token, dict.fromkeys(keys, 3))
        assert len({port for name, port in calls if name == "send_packed_command"}) == 3
        assert sum(name == "send_packed_command" for name, _ in calls) == 3

    def test_cache__each_call_of_djangos_interface(self) -> None:
        keys = [f"thing:{id}" for id in range(50)]
        cache.set_many(dict.fromkeys(keys, 1))
        assert cache.get_many([*keys, "other"]) == dict.fromkeys(keys, 1)
        assert cache.incr("thing:1") == 2
        assert cache.add("thing:2", 0) is False
        assert cache.touch("thing:3", 5) is True
        assert 0 < cache.ttl("thing:3") <= 5
        assert {*cache.keys("thing:1*")} == {"thing:1", *(f"thing:1{n}" for n in range(10))}
        cache.delete_many(keys[:10])
        assert cache.delete_pattern("thing:1*") == 10
        with cache.lock("a lock", timeout=5):
            assert cache.has_key("a lock")
        assert len(cache.get_many(keys)) == 30
        cache.clear()
        assert cache.get_many(keys) == {}

    def test_keys_in_several_slots__are_an_error_of_the_call_not_an_outage(self) -> None:
        with pytest.raises(ClusterCrossSlotError):
            cache.sunion("thing:1", "thing:2")
        assert not breaker.breaker_of("default").is_open


class TestMovingSlots:
    """Slots move while they are in use."""

    KEY = "thing:1"
    SLOT = slot_of(f":1:{KEY}")
    to = 0

    @pytest.fixture(autouse=True)
    def _use(self, cluster: RedisCluster, settings: Any) -> None:
        settings.CACHES = cluster_caches(cluster)
        cache.clear()

    @pytest.fixture(params=["begun", "half way", "all keys moved", "over"])
    def move(self, request: pytest.FixtureRequest, cluster: RedisCluster) -> Iterator[Callable[[], None]]:
        """Begin to move the slot of the key to another node, up to a stage; afterwards the move ends."""
        to = type(self).to = (cluster.owner(self.SLOT) + 1) % 3

        def move() -> None:
            cluster.begin_move(self.SLOT, to)
            if request.param == "half way":
                assert cluster.move_keys(self.SLOT, to, count=1) == 1
            elif request.param != "begun":
                assert cluster.move_keys(self.SLOT, to)
            if request.param == "over":
                cluster.end_move(self.SLOT, to)

        yield move
        cluster.end_move(self.SLOT, to)

    def test_value__is_read(self, move: Callable[[], None]) -> None:
        store = open_things(absent_timeout=30.0)
        store.write(store.token([self.KEY]), {self.KEY: "value"})
        move()
        assert store.lookup([self.KEY]).values == {self.KEY: "value"}
        assert store.peek(self.KEY) == cache.get(self.KEY) == "value"
        assert cache.get_many([self.KEY, "thing:2"]) == {self.KEY: "value"}
        assert store.fresh([self.KEY], seconds=1) == [self.KEY]

    @pytest.mark.parametrize("whole", [False, True])
    def test_invalidation__holds_throughout(self, move: Callable[[], None], whole: bool, cluster: RedisCluster) -> None:
        store = open_things()
        store.write(store.token([self.KEY]), {self.KEY: "old"})
        token = store.token([self.KEY, "thing:2"])
        move()
        if whole:
            invalidate_all(store)
        else:
            store.invalidate([self.KEY])
        assert store.lookup([self.KEY]).values == {}
        written = store.begin_write(token, {self.KEY: "old", "thing:2": 2}).end().outcomes
        assert written[self.KEY] in (SUPERSEDED, Outcome.FAILED)
        assert written["thing:2"] is (SUPERSEDED if whole else WRITTEN)
        assert store.lookup([self.KEY]).values == {}
        cluster.end_move(self.SLOT, self.to)
        assert store.write(token, {self.KEY: "old"}).outcomes == {self.KEY: SUPERSEDED}
        assert fill(store, store.token([self.KEY]), self.KEY) == {self.KEY: WRITTEN}

    def test_sweep__finds_a_key_that_moves(self, cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        store = open_things()
        look, looked = codec.ids_of, list[int]()
        keys = [f"thing:{id}" for id in range(60)]
        store.write(store.token(keys), dict.fromkeys(keys, 1))
        ports = [node.port for node in cluster.nodes]

        def look_and_move(node: Any, made: str) -> Iterator[str]:
            number = ports.index(node.connection_pool.connection_kwargs["port"])
            looked.append(number)
            yield from look(node, made)
            if len(looked) == 1:  # what is elsewhere moves to where this pass looks no more
                slots = {slot_of(f":1:{key}") for key in keys}
                slot = next(slot for slot in slots if cluster.owner(slot) != number)
                cluster.begin_move(slot, number)
                cluster.end_move(slot, number)

        monkeypatch.setattr(codec, "ids_of", look_and_move)
        invalidate_all(store)
        assert store.lookup(keys).values == {}


Start = Callable[..., RedisCluster]


@pytest.fixture
def start(settings: Any) -> Iterator[Start]:
    """Return a function that starts a cluster for this test alone, which is then the cache."""
    with ExitStack() as started:

        def start(**options: int) -> RedisCluster:
            cluster = started.enter_context(RedisCluster(**options))
            settings.CACHES = cluster_caches(cluster)
            return cluster

        yield start


def test_node_that_joins__gets_its_first_slot_while_it_is_in_use(start: Start) -> None:
    """No client knows it before it owns a slot, but what was moved there is found and invalidated."""
    cluster, store, key = start(primaries=1), open_things(), "thing:1"
    slot = slot_of(f":1:{key}")
    store.write(store.token([key]), {key: "old"})
    new = cluster.add()
    cluster.begin_move(slot, new)
    assert cluster.move_keys(slot, new) == 2
    assert store.peek(key) == cache.get(key) == "old"
    cache.set_many({key: "other", "thing:2": 2})
    assert cache.get_many([key]) == {key: "other"}
    token = store.token([key])
    invalidate_all(store)
    assert store.lookup([key]).values == {}
    cluster.end_move(slot, new)
    assert store.write(token, {key: "old"}).outcomes == {key: SUPERSEDED}
    assert fill(store, store.token([key]), key) == {key: WRITTEN}


def test_nodes__that_are_away_and_come_back(start: Start) -> None:
    cluster, store = start(primaries=1), open_things()
    token = store.token(["thing:1"])
    cluster.nodes[0].kill()
    calls: list[Callable[[], object]] = [
        *(lambda: store.write(token, {"thing:1": 1}), lambda: store.peek("thing:1"), store.forget),
        *(store.ping, lambda: store.token(())),  # by which one finds out whether the cache answers
        lambda: store.counters.totals([store.counters]),
        lambda: store.counters.recent(time.time(), timedelta(hours=1)),
    ]
    for call in calls:
        breaker.forget()
        with pytest.raises(StoreUnavailable, match="The cache 'default'"):
            call()
    uses: list[Callable[[str], object]] = [
        *(cache.get, cache.has_key, cache.delete, lambda key: cache.get_many([key])),
        *(lambda key: cache.set_many({key: 1}), lambda key: cache.delete_many([key, "thing:2"])),
    ]
    for use in uses:
        breaker.forget()
        assert not use("thing:1")


def test_nodes__that_have_no_hash_as_in_redis_py_7_1(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    start(primaries=1)
    store = open_things()
    monkeypatch.setattr(ClusterNode, "__hash__", None)
    assert store.write(store.token(["thing:1"]), {"thing:1": 1}).outcomes == {"thing:1": WRITTEN}
    assert store.lookup(["thing:1"]).values == {"thing:1": 1}
    invalidate_all(store)
    assert store.lookup(["thing:1"]).values == {}


def test_tls__to_every_node(start: Start, settings: Any) -> None:
    cluster = start(primaries=1)
    with in_front_of(cluster.nodes[0].port, CERTIFICATE) as port:
        cluster.ask(0, "CONFIG SET", "cluster-announce-port", port)  # all that a client learns
        url = f"rediss-cluster://127.0.0.1:{port}?ssl_ca_certs={CERTIFICATE}"
        settings.CACHES = {"default": cache_settings(url, max_connections=5)}
        store = open_things()
        store.write(store.token(["thing:1"]), {"thing:1": 1})
        assert cache.get("thing:1") == 1
        store.invalidate(["thing:1"])
        assert cache.get("thing:1") is None
        (node,) = caches["default"].client.unguarded.connect().get_nodes()
        assert node.port == port


def test_failover__is_followed_and_noticed(start: Start) -> None:
    """A node is killed; its replica takes over."""
    cluster, store, keys = start(replicas=1), open_things(), [f"thing:{id}" for id in range(50)]
    store.write(store.token(keys), dict.fromkeys(keys, "old"))
    before, token = incarnation_of("default"), store.token(keys)
    cluster.nodes[0].kill()
    wait_until(lambda: answers(lambda: store.invalidate(keys)), seconds=60, what="a replica has taken over")
    assert store.lookup(keys).values == {}
    assert set(store.write(token, dict.fromkeys(keys, "old")).outcomes.values()) == {SUPERSEDED}
    fill(store, store.token(keys), *keys)
    after = incarnation_of("default")
    assert before is not None
    assert after is not None
    assert before.id != after.id


def test_nodes__by_addresses_of_every_form(settings: Any) -> None:
    addresses = "127.0.0.1:1, [::1]:1,[::1],localhost"
    settings.CACHES = {"default": cache_settings(f"redis-cluster://{addresses}", max_connections=5)}
    with pytest.raises(StoreUnavailable, match="does not answer as expected"):
        open_things().ping()
