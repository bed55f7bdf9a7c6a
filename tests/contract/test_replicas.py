"""Tests `durability: replica` with real servers: what was acknowledged outlives the primary and its disk.

While too few replicas answer, accepts are refused, and the health says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
import redis

from actors.intake import IntakeActor
from cluster.local import redis_checks
from cluster.local.redis_binary import packaged
from cluster.local.replica_checks import check_replicas
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.replicas import ReplicatedWrites
from dispatcher.adapters.redis.script_calls import Client, client
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.config.store_settings import StoreSettings
from dispatcher.core.store.replication import ReplicaRule
from dispatcher.errors import ConfigError, UnavailableError
from dispatcher.ports import STORED
from tests import sentinels
from tests.contract.test_sentinels import answered
from tests.contract.worlds import REPLAYED, lanes, trigger
from tests.sentinels import Fleet, fleet, until

ANSWER_S = 10.0
"""How long a round may take on a slow machine, in seconds. Tests of a refusal use less."""


def is_older(path: str) -> bool:
    """Return True if the program at `path` is a Redis before 7.2, which has no WAITAOF."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"^Redis server v=([0-9]+)\.([0-9]+)", said)
    return version is not None and (int(version[1]), int(version[2])) < (7, 2)


@pytest.fixture(autouse=True)
def older(monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Make every test use a server that has WAITAOF.

    Return the path of this machine's own server if that server is too old for WAITAOF, or None if it is not.
    """
    path = sentinels.redis_path()
    if path is None or not is_older(path):
        return None
    monkeypatch.setattr(sentinels, "redis_path", packaged)
    return path


def test_a_server_without_waitaof_is_refused(older: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if older is None:
        pytest.skip("the server of this machine has WAITAOF")
    monkeypatch.setattr(sentinels, "redis_path", lambda: older)
    with fleet(replicas=1) as watched:
        refused(redis_checks.connect(watched.url), asks(), "this server has no WAITAOF: needed is Redis 7.2")


class Desk:
    """The parts by which an intake replica or a vendor actor writes to a store with replicas: the store, its clients
    and the control channel.
    """

    def __init__(self, url: str, rule: ReplicaRule | None = None, answer_s: float = ANSWER_S) -> None:
        self.connection = client(url, timeout_s=ANSWER_S)
        self.own: Client = client(url, timeout_s=ANSWER_S)
        self.replicated = ReplicatedWrites(self.own, self.connection, rule or ReplicaRule(), answer_s=answer_s)
        self.store = RedisStore(self.connection, replicated=self.replicated)
        self.control = RedisControl(self.connection)

    async def close(self) -> None:
        await self.replicated.close()
        await self.connection.aclose()


@contextlib.asynccontextmanager
async def desk(url: str, rule: ReplicaRule | None = None, answer_s: float = ANSWER_S) -> Any:
    made = Desk(url, rule, answer_s)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture(params=[1, 2])
def watched(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Yield a primary with one or two replicas, and one sentinel."""
    with fleet(replicas=request.param) as found:
        yield found


async def test_what_was_acknowledged_outlives_the_primary_and_its_disk(watched: Fleet) -> None:
    """Under load the primary is killed and its disk is deleted. The promoted replica has every acknowledged trigger."""
    away = ReplicaRule(away_max=len(watched.servers) - 2)  # of two replicas one may be away
    async with desk(watched.url, away) as found:
        acknowledged: list[Any] = []
        going = True

        async def accepts() -> None:
            while going:
                one = trigger()
                with contextlib.suppress(UnavailableError):
                    if await found.store.accept([one]) == [STORED]:
                        acknowledged.append(one)

        callers = [asyncio.create_task(accepts()) for _ in range(8)]
        watching = asyncio.create_task(found.replicated.watch())  # otherwise accepts would wait for the lost server
        old = watched.primary()
        await asyncio.to_thread(until, lambda: len(acknowledged) > 100, "accepts go on")
        await asyncio.to_thread(old.lose_disk)
        new = await asyncio.to_thread(watched.promoted, old)
        before = len(acknowledged)
        if len(watched.servers) > 2:
            await asyncio.to_thread(until, lambda: len(acknowledged) > before, "accepts go on with the other replica")
        going = False
        await asyncio.gather(*callers)
        watching.cancel()
        async with desk(f"redis://127.0.0.1:{new.port}", ReplicaRule(1)) as there:
            plain = RedisStore(there.connection)
            assert [await plain.accept([one]) for one in acknowledged] == [[REPLAYED]] * len(acknowledged)


async def test_a_replica_that_is_away_refuses_accepts_until_it_is_back(watched: Fleet) -> None:
    """A replica is frozen. Accepts then raise UnavailableError, and a health warning appears. Both say how many of how
    many replicas have the write on disk.

    The frozen replica lacks the trigger and could be promoted. When the replica runs again, the same trigger is
    answered REPLAYED.
    """
    async with desk(watched.url, answer_s=1.0) as found:
        assert await answered(lambda: found.store.accept([trigger()])) == [STORED]
        count = len(watched.servers) - 1
        assert found.replicated.standing.warnings() == []
        late, one = watched.servers[1], trigger()
        late.freeze()
        with pytest.raises(UnavailableError, match=f"{count - 1} of {count} replicas have it on disk"):
            await found.store.accept([one])
        (warning,) = found.replicated.standing.warnings()
        assert f"{count - 1} of {count} replicas have the last write on disk" in warning
        with pytest.raises(UnavailableError):  # the primary has the trigger now, which is not enough
            await found.store.accept([one])
        async with desk(watched.url, answer_s=1.0) as other:  # the connection of this desk has written nothing
            with pytest.raises(UnavailableError):
                await other.store.accept([one])
            with pytest.raises(UnavailableError):
                await other.store.synced()
        late.thaw()
        assert await answered(lambda: found.store.accept([one])) == [REPLAYED]
        assert found.replicated.standing.warnings() == []


async def test_one_of_two_may_be_away_where_a_setting_allows_it() -> None:
    """Two replicas follow, and `away_max` is 1. While one replica is frozen, triggers are accepted all the same.

    The health then warns that only one replica has the last write.
    """
    with fleet(replicas=2) as watched:
        async with desk(watched.url, ReplicaRule(away_max=1), answer_s=1.0) as found:
            watching = asyncio.create_task(found.replicated.watch())
            assert await answered(lambda: found.store.accept([trigger()])) == [STORED]
            # A sentinel learns that a replica follows when it asks it next, which is every ten seconds.
            await asyncio.to_thread(until, lambda: found.replicated.standing.needed == 2, "both are waited for")
            watched.servers[2].freeze()
            assert await answered(lambda: found.store.accept([trigger()])) == [STORED]
            (warning,) = found.replicated.standing.warnings()
            assert "is on 1 of 2 replicas" in warning
            watched.servers[2].thaw()
            await asyncio.to_thread(until, lambda: found.replicated.standing.needed == 2, "both are waited for again")
            watching.cancel()
        async with desk(watched.url, ReplicaRule(away_max=1)) as found:
            assert await found.store.accept([trigger()]) == [STORED]
            watched.servers[2].freeze()
            assert await found.store.accept([trigger()]) == [STORED], "a round that waits learns that one is gone"


@pytest.mark.parametrize(
    ("rule", "by_sentinels", "why"),
    [
        (ReplicaRule(), False, "store.replicas: must say how many replicas may be promoted"),
        (ReplicaRule(away_max=2), True, "store.replicas_away_max: must be less than the number of replicas, 2"),
    ],
)
async def test_a_rule_that_cannot_be_kept_accepts_nothing(rule: ReplicaRule, by_sentinels: bool, why: str) -> None:
    """Two replicas follow, and either may be promoted. The rule would let a write count that only one of them has.

    Serve can start a file that `up` and `deploy` would refuse. Then every accept is refused, and the health says why.
    """
    with fleet(replicas=2) as watched:
        url = watched.url if by_sentinels else f"redis://127.0.0.1:{watched.primary().port}"
        async with desk(url, rule) as found:
            with pytest.raises(UnavailableError, match=re.escape(why)):
                await found.store.accept([trigger()])
            assert why in found.replicated.standing.warnings()[0]


async def test_the_old_primary_coming_back_is_waited_for_again() -> None:
    """The primary fails, and its only replica becomes the primary. Accepts are refused, because the new primary has no
    replica.

    When the old primary is back, it becomes the replica, and accepts succeed again.
    """
    with fleet(replicas=1) as watched:
        async with desk(watched.url, answer_s=1.0) as found:
            one = trigger()
            assert await answered(lambda: found.store.accept([one])) == [STORED]
            old = watched.primary()
            old.kill()
            await asyncio.to_thread(watched.promoted, old)
            with pytest.raises(UnavailableError):
                await answered_or_refused(found)
            old.start()
            assert await answered(lambda: found.store.accept([one])) == [REPLAYED]
            assert found.replicated.standing.warnings() == []


async def answered_or_refused(found: Desk) -> None:
    """Post triggers until one is refused because too few replicas have it on disk. Raise the UnavailableError of this
    refusal.

    Other UnavailableErrors are ignored, because the fail-over to the new primary takes a while.
    """
    for _ in range(100):
        try:
            await found.store.accept([trigger()])
        except UnavailableError as error:
            if "replicas have it on disk" in str(error):
                raise
            await asyncio.sleep(0.1)


async def test_under_hold_nothing_repeats_after_the_primarys_loss() -> None:
    """The primary and its disk are lost after a start mark was acknowledged. The promoted replica has the mark.

    So the notification becomes held, and is not sent again.
    """
    with fleet(replicas=1) as watched:
        async with desk(watched.url) as found:
            store, one = found.store, trigger(on_unknown="hold")
            me = await found.control.register("a")
            assert await store.accept([one]) == [STORED]
            (claim,) = (await store.claim(me, lanes("a"), 9)).claims
            assert await store.start(me, claim)  # the message goes out now
            old = watched.primary()
            old.lose_disk()
            new = await asyncio.to_thread(watched.promoted, old)
        connection = client(f"redis://127.0.0.1:{new.port}")
        heir, control = RedisStore(connection), RedisControl(connection)
        (again,) = (await heir.own(me, lanes("a"), ())).claims
        assert again.notification.state == "started", "the audit makes it held, and sends nothing"
        assert await control.live()
        await connection.aclose()


async def test_a_start_mark_that_a_replica_lacks_allows_no_sending() -> None:
    """A replica of Redis is frozen. `start`, which marks a message as started, raises UnavailableError, so nothing is
    sent.

    When the replica is back, `start` succeeds.
    """
    with fleet(replicas=1) as watched:
        async with desk(watched.url, answer_s=0.5) as found:
            me = await found.control.register("a")
            assert await answered(lambda: found.store.accept([trigger(on_unknown="hold")])) == [STORED]
            (claim,) = (await found.store.claim(me, lanes("a"), 9)).claims
            watched.servers[1].freeze()
            with pytest.raises(UnavailableError, match="0 of 1 replicas"):
                await found.store.start(me, claim)
            with pytest.raises(UnavailableError):
                await found.store.withdraw(claim.notification.id, "cancelled", "cancelled")
            watched.servers[1].thaw()
            assert await answered(lambda: found.store.start(me, claim))


async def test_many_accepts_share_one_wait(watched: Fleet) -> None:
    """For 200 accepts at the same time, WAITAOF is called fewer than 60 times, because accepts share a wait."""
    async with desk(watched.url) as found:
        await found.store.accept([trigger()])
        before = calls(watched)
        assert await asyncio.gather(*(found.store.accept([trigger()]) for _ in range(200))) == [[STORED]] * 200
        assert calls(watched) - before < 60


def calls(watched: Fleet) -> int:
    return int(watched.servers[0].ask.info("commandstats")["cmdstat_waitaof"]["calls"])


async def test_a_connection_that_broke_on_the_way_proves_nothing() -> None:
    """The replica is frozen, and the connection breaks just before WAITAOF is sent. The accept is refused.

    Otherwise WAITAOF would be sent on a new connection. There it answers at once, because this connection has written
    nothing that it could wait for.
    """
    with fleet(replicas=1) as watched:
        async with desk(watched.url, answer_s=1.0) as found:
            assert await answered(lambda: found.store.accept([trigger()])) == [STORED]
            shared, asked = found.own.shared, found.own.shared.ask

            async def breaks(commands: Any) -> list[Any]:
                if commands[0][0] == "WAITAOF":
                    watched.servers[1].freeze()
                    await shared.close()
                return await asked(commands)

            with mock.patch.object(shared, "ask", breaks), pytest.raises(UnavailableError):
                await found.store.accept([trigger()])
            watched.servers[1].thaw()


# ---- the start


@mock.patch("cluster.local.replica_checks.PROOF_S", 1.0)
def test_a_set_up_that_cannot_keep_it_is_refused_in_one_sentence() -> None:
    """If the servers cannot give the durability that is asked for, the start is refused in one line with the
    setting.
    """
    with fleet(replicas=1) as watched:
        by_sentinels = redis_checks.connect(watched.url)
        at = redis_checks.connect(f"redis://127.0.0.1:{watched.servers[0].port}")
        assert check_replicas(by_sentinels, StoreSettings(), unsafe=False) == []
        assert check_replicas(by_sentinels, asks(), unsafe=False) == []
        assert check_replicas(at, asks(replicas=1), unsafe=False) == []
        refused(at, asks(), "store.replicas: must say how many replicas may be promoted")
        refused(by_sentinels, asks(replicas_away_max=1), "store.replicas_away_max: must be less than .*, 1")
        refused(at, asks(replicas=2), "1 of 2 replicas had a write on disk within")
        assert check_replicas(at, asks(replicas=2), unsafe=True), "what is queued can be delivered all the same"
        watched.servers[1].ask.config_set("appendonly", "no")
        refused(by_sentinels, asks(), "0 of 1 replicas had a write on disk within .* appendonly yes")
    with fleet(replicas=0) as alone:
        refused(redis_checks.connect(alone.url), asks(), "needs a replica, and there is none")


def asks(**settings: Any) -> StoreSettings:
    return StoreSettings(durability="replica", **settings)


def refused(by: redis.Redis, store: StoreSettings, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as found:
        check_replicas(by, store, unsafe=False)
    assert "\n" not in str(found.value)


async def test_an_intake_replica_tells_it(watched: Fleet) -> None:
    """One of Redis's replicas is frozen. An intake replica without any work notices it: it is not ready, and warns.

    When the replica of Redis is back, the intake replica is ready again.
    """
    actor = IntakeActor({"store": {"durability": "replica"}}, {"redis_url": watched.url}, {"ingress": "haproxy"})
    with mock.patch("actors.intake.configure"):
        await actor.start()
    try:
        probes = actor.use_cases.probes
        await asyncio.to_thread(until, lambda: probes.not_ready() is None, "ready")
        assert probes.health()["warnings"] == []
        told = f'dispatcher_store_replicas{{of="needed"}} {len(watched.servers) - 1}'
        for _ in range(300):  # an intake is ready before it has looked at the replicas for the first time
            if told in (await probes.metrics_text()).decode():
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail(f"{told} is not told within 30 s")
        watched.servers[1].freeze()
        await asyncio.to_thread(until, lambda: "nothing is accepted" in str(probes.not_ready()), "not ready")
        assert any("nothing is accepted" in warning for warning in probes.health()["warnings"])
        watched.servers[1].thaw()
        await asyncio.to_thread(until, lambda: probes.not_ready() is None, "ready again")
        actor.check()
    finally:
        await actor.stop(1.0)
