"""Tests a primary that sentinels watch: every client finds the next primary, and no refused write counts as stored."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import redis

from actors.intake import IntakeActor
from cluster.local import redis_checks
from dispatcher.adapters.redis import primary
from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.primary import PrimaryFinder
from dispatcher.adapters.redis.script_calls import client
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.core.plan.values import Beat
from dispatcher.errors import ConfigError, UnavailableError
from dispatcher.ports import STORED, AcceptReply, AcceptResult
from tests.contract.certificates import Authority
from tests.contract.worlds import REPLAYED, lanes, trigger
from tests.sentinels import SERVICE, WAIT_S, Fleet, fleet, until

SLOW_OR_NOT = ([STORED], [REPLAYED])
"""The answers to a first accept that is repeated after a time-out."""


async def answered(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Call `ask` until it does not raise UnavailableError. The program's loops repeat calls in this way, and so do
    callers.
    """
    end_s = time.monotonic() + WAIT_S
    while time.monotonic() < end_s:
        with contextlib.suppress(UnavailableError):
            return await ask()
        await asyncio.sleep(0.05)
    return await ask()


@pytest.fixture
def watched() -> Iterator[Fleet]:
    """Yield a primary with one replica, and one sentinel."""
    with fleet() as found:
        yield found


async def test_everybody_finds_the_next_primary(watched: Fleet) -> None:
    """The primary is killed and a replica is promoted. Scripts, single commands, the blocking read and the subscription
    then work with the new primary.
    """
    connection, waiting = client(watched.url), client(watched.url, timeout_s=3.0, connections_max=2)
    store, control = RedisStore(connection, waiting), RedisControl(connection)
    me, first = await control.register("a"), trigger()
    assert await store.accept([first]) == [STORED]
    heard = asyncio.create_task(_first_beat(control))
    old = watched.primary()
    until(watched.follow, "the replica has it")
    old.kill()
    assert old is not watched.promoted(old)
    replies = await answered(lambda: store.accept([first, trigger()]))
    assert replies == [REPLAYED, STORED]
    claims = await answered(lambda: store.wait(me, lanes("a"), 9, 100))
    claims = claims.claims or (await answered(lambda: store.claim(me, lanes("a"), 9))).claims
    assert len(claims) == 2
    assert await answered(control.live)
    assert await _beating(control, me, heard) == me
    assert await answered(lambda: store.accept([first])) == [REPLAYED]
    for one in (connection, waiting):
        await one.aclose()


async def _first_beat(control: RedisControl) -> str:
    while True:
        with contextlib.suppress(UnavailableError):
            async for found in control.listen(["beat"]):
                if isinstance(found, Beat) and found.vendor == "a":
                    return found.incarnation
        await asyncio.sleep(0.05)


async def _beating(control: RedisControl, me: str, heard: asyncio.Task[str], vendor: str = "a") -> str:
    while not heard.done():
        with contextlib.suppress(UnavailableError):
            await control.beat(Beat(me, vendor, "r", 1, "n"))
        await asyncio.wait({heard}, timeout=0.1)
    return heard.result()


async def test_a_write_at_a_demoted_primary_is_not_stored(watched: Fleet) -> None:
    """A write at a demoted primary is refused, and the repeated write is stored at the new primary.

    A client with sentinels finds the new primary. A client with a fixed address works again when the server at this
    address is a primary again. redis-py's own client goes on asking the demoted server (issues 435, 460, 688 and 935).
    """
    old = watched.primary()
    direct, found = client(f"redis://127.0.0.1:{old.port}"), client(watched.url)
    at_name, by_sentinels, key = RedisStore(direct), RedisStore(found), trigger()
    assert await at_name.accept([trigger()]) == [STORED]
    assert await by_sentinels.accept([trigger()]) == [STORED]
    until(lambda: watched.sentinels[0].ask.execute_command("SENTINEL", "FAILOVER", SERVICE), "it agrees")
    watched.promoted(old)
    until(lambda: old.ask.info("replication")["role"] == "slave", "the old primary follows")
    await _refused(at_name, key)
    assert await answered(lambda: by_sentinels.accept([key])) == [STORED]
    await _refused(at_name, trigger())  # another trigger, because a replica may answer that it has `key`
    old.ask.replicaof("NO", "ONE")  # as if the name led to a primary again
    assert await answered(lambda: at_name.accept([trigger()])) == [STORED]
    await direct.aclose()
    await found.aclose()


async def _refused(store: RedisStore, one: Any) -> None:
    with contextlib.suppress(UnavailableError):
        assert await store.accept([one]) == [AcceptReply(AcceptResult.ERROR)]


async def test_a_primary_that_only_we_still_reach_is_left(watched: Fleet) -> None:
    """The primary is cut off from its replica and the sentinel, but takes our writes, which nobody will keep. A second
    after a replica was promoted, scripts, single commands and the subscription work with the new primary.

    A process that knows the old primary's address goes on publishing there, so that the subscription is never quiet.
    """
    connection, old = client(watched.url), watched.primary()
    behind = client(f"redis://127.0.0.1:{old.port}")
    store, control = RedisStore(connection), RedisControl(connection)
    assert await store.accept([trigger()]) == [STORED]
    me = await control.register("a")
    heard = asyncio.create_task(_first_beat(control))
    await RedisControl(behind).beat(Beat("b/1", "b", "r", 1, "n"))
    until(watched.follow, "the replica has it")
    old.cut_off()
    until(lambda: watched.primary() is not old)
    new = watched.promoted(old)
    end_s = time.monotonic() + 2 * primary.LOOK_S
    while time.monotonic() < end_s:
        with contextlib.suppress(UnavailableError):
            await store.accept([trigger()])
        await RedisControl(behind).beat(Beat("b/1", "b", "r", 1, "n"))
        await asyncio.sleep(0.05)
    last = trigger()
    assert await store.accept([last]) == [STORED]
    direct = client(f"redis://127.0.0.1:{new.port}")
    assert await RedisStore(direct).accept([last]) == [REPLAYED]
    assert await RedisControl(direct).live() == await control.live() != {}
    noise = asyncio.create_task(_beating(RedisControl(behind), "b/1", heard, "b"))
    assert await asyncio.wait_for(_beating(RedisControl(direct), me, heard), WAIT_S) == me
    await noise
    for one in (connection, direct, behind):
        await one.aclose()


async def test_a_primary_that_hangs_is_left(watched: Fleet) -> None:
    """The primary hangs with open connections (celery 6348). After time-outs the client uses the next primary and stays
    there.
    """
    connection, old, first, later = client(watched.url, timeout_s=0.5), watched.primary(), trigger(), trigger()
    store = RedisStore(connection)
    assert await answered(lambda: store.accept([first])) in SLOW_OR_NOT
    until(watched.follow, "the replica has it")
    old.freeze()
    new = watched.promoted(old)
    assert await answered(lambda: store.accept([first])) == [REPLAYED]
    old.thaw()
    until(lambda: old.ask.info("replication")["role"] == "slave", "the old primary follows")
    assert await answered(lambda: store.accept([later])) in SLOW_OR_NOT
    assert await _named(connection.finder) == ("127.0.0.1", new.port)
    await connection.aclose()


async def test_a_fail_over_that_lost_writes_is_told(watched: Fleet) -> None:
    """A replica that lacks writes is promoted. An intake replica notices the loss, and its health shows a warning that
    the store lost data.
    """
    old = watched.primary()
    (behind,) = [server for server in watched.servers if server is not old]
    actor = IntakeActor({}, {"redis_url": watched.url}, {})
    with mock.patch("actors.intake.configure"):
        await actor.start()
    try:
        await _true(lambda: actor._breaks.continuity.lineage is not None)
        watched.sentinels[0].ask.execute_command("SENTINEL", "REMOVE", SERVICE)  # it would repair what is broken next
        behind.ask.replicaof("NO", "ONE")
        old.ask.set("settled", 1)
        written = int(old.ask.info("replication")["master_repl_offset"])
        await _true(lambda: actor._breaks.continuity.lineage.come_to >= written)  # type: ignore[union-attr]
        old.kill()
        watched.sentinels[0].ask.execute_command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", behind.port, 1)
        await _true(lambda: any("the store lost" in w for w in actor.use_cases.probes.health()["warnings"]))
        actor.check()
    finally:
        await actor.stop(1.0)


async def _true(condition: Callable[[], object]) -> None:
    for _ in range(int(WAIT_S / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("not in time")


async def test_a_sentinel_that_is_away_or_knows_less_is_outvoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of three sentinels is frozen, and after a fail-over one sentinel still names the old primary.

    The client uses the new primary, which the other sentinels name (celery 5538).
    """
    monkeypatch.setattr(primary, "SENTINEL_S", WAIT_S)  # on a busy machine the two others may be slow
    with fleet(sentinels=3) as found:
        connection = client(found.url)
        await connection.ping()
        frozen, old = found.sentinels[0], found.primary()
        frozen.freeze()
        for one in found.sentinels[1:]:
            until(lambda one=one: one.ask.sentinel_master(SERVICE)["num-other-sentinels"] == 2)  # type: ignore[misc]
        old.kill()
        found.sentinels.append(found.sentinels.pop(0))
        new = found.promoted(old)
        assert await _named(connection.finder) == ("127.0.0.1", new.port)
        assert connection.finder.known_replicas == 1
        found.sentinels[0].ask.execute_command("SENTINEL", "REMOVE", SERVICE)
        found.sentinels[0].ask.execute_command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", old.port, 2)
        frozen.thaw()
        until(lambda: int(frozen.ask.sentinel_master(SERVICE)["port"]) == new.port, "the thawed one learns of it")
        for _ in range(5):
            assert await _named(connection.finder) == ("127.0.0.1", new.port)
        await connection.aclose()


async def _named(finder: PrimaryFinder) -> tuple[str, int]:
    """Return the primary as soon as the sentinels name one.

    On a busy machine all of them can think for a moment that it is down. Every client asks again in this case.
    """
    end_s = time.monotonic() + WAIT_S
    while time.monotonic() < end_s:
        with contextlib.suppress(redis.ConnectionError):
            return await finder.primary()
        await asyncio.sleep(0.05)
    return await finder.primary()


# ---- what is said of a set-up that cannot be used


def test_each_fault_of_sentinels_is_one_sentence(watched: Fleet) -> None:
    """If no sentinel names a primary, ConfigError says on one line which sentinel was asked and what is wrong."""
    (sentinel,) = watched.sentinels
    primary = watched.primary()
    at, server = f"127.0.0.1:{sentinel.port}", f"127.0.0.1:{primary.port}"
    redis_checks.check(redis_checks.connect(watched.url), unsafe=False)
    for hosts, service, words in (
        (at, "other", f"{at} watches no service other, only {SERVICE}"),
        (server, SERVICE, f"{server} is no sentinel"),
        ("127.0.0.1:1", SERVICE, "127.0.0.1:1 does not answer"),
    ):
        with pytest.raises(ConfigError, match="no sentinel names a primary: ") as refused:
            redis_checks.check(redis_checks.connect(f"redis+sentinel://{hosts}/{service}"), unsafe=True)
        assert words in str(refused.value) and "\n" not in str(refused.value)
    primary.kill()
    watched.servers[1].kill()
    until(lambda: sentinel.ask.sentinel_master(SERVICE)["is_sdown"])
    with pytest.raises(ConfigError, match="says that the primary is down"):
        redis_checks.check(redis_checks.connect(watched.url), unsafe=True)


async def test_sentinels_may_have_a_password_of_their_own() -> None:
    """The sentinels have another password than the servers, and the client connects if it is given both.

    Without the sentinels' password, ConfigError names the option to give. A wrong password of the servers is an error
    too.
    """
    made = Fleet(0, 1, {"password": "for-servers"}, requirepass="for-servers", masterauth="for-servers")
    try:
        made.start(requirepass="for-sentinels", **{f"sentinel_auth-pass_{SERVICE}".replace("_", " "): "for-servers"})
        url = f"redis+sentinel://:for-servers@{made.hosts}/{SERVICE}"
        redis_checks.check(redis_checks.connect(f"{url}?sentinel_password=for-sentinels"), unsafe=False)
        connection = client(f"{url}?sentinel_password=for-sentinels")
        assert await connection.ping()
        await connection.aclose()
        with pytest.raises(ConfigError, match="asks for a password: give sentinel_password"):
            redis_checks.check(redis_checks.connect(url), unsafe=True)
        bad = f"redis+sentinel://:not-this@{made.hosts}/{SERVICE}?sentinel_password=for-sentinels"
        with pytest.raises(ConfigError, match=r"user or password of the Redis at .* is wrong: invalid") as refused:
            redis_checks.check(redis_checks.connect(bad), unsafe=True)
        assert "not-this" not in str(refused.value)
        wrong = client(url)
        with pytest.raises(redis.ConnectionError):
            await wrong.ping()
        await wrong.aclose()
    finally:
        made.end()


# ---- TLS


@pytest.fixture
async def secured(redis_url: str, tmp_path: Path) -> AsyncIterator[tuple[str, Authority]]:
    """Yield a URL that reaches the private server by TLS, and the authority that signed its certificate.

    The private server has no TLS, so a relay adds it. The relay has a thread and an event loop of its own, because the
    start checks block the loop that calls them.
    """
    authority, begun, ended = Authority(tmp_path), threading.Event(), asyncio.Event()
    ports: list[int] = []
    path = redis_url.removeprefix("unix://")

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_unix_connection(path)
        await asyncio.gather(_copy(reader, forth), _copy(back, writer))

    async def serve(loop_of: list[asyncio.AbstractEventLoop]) -> None:
        loop_of.append(asyncio.get_running_loop())
        server = await asyncio.start_server(carry, "127.0.0.1", 0, ssl=authority.server())
        ports.append(server.sockets[0].getsockname()[1])
        begun.set()
        await ended.wait()
        server.close()

    loops: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=lambda: asyncio.run(serve(loops)), daemon=True)
    thread.start()
    await asyncio.to_thread(begun.wait, WAIT_S)
    yield f"rediss://127.0.0.1:{ports[0]}", authority
    loops[0].call_soon_threadsafe(ended.set)
    await asyncio.to_thread(thread.join, WAIT_S)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_tls_with_the_right_authority(secured: tuple[str, Authority], redis_client: object) -> None:
    """With the right authority in the URL, the checks at the start pass and a trigger is stored."""
    url, authority = secured
    url = f"{url}?ssl_ca_certs={authority.file}"
    await asyncio.to_thread(lambda: redis_checks.check(redis_checks.connect(url), unsafe=False))
    connection = client(url)
    assert await RedisStore(connection).accept([trigger()]) == [STORED]
    await connection.aclose()


async def test_tls_with_a_wrong_authority_is_one_sentence(secured: tuple[str, Authority], tmp_path: Path) -> None:
    """With a wrong authority in the URL, the check raises a one-line ConfigError, and an accept raises
    UnavailableError.
    """
    url, _ = secured
    (tmp_path / "other").mkdir()
    url = f"{url}?ssl_ca_certs={Authority(tmp_path / 'other', 'stranger').file}"
    with pytest.raises(ConfigError, match=r"the certificate of this Redis is not trusted: .*; ssl_ca_certs") as refused:
        await asyncio.to_thread(lambda: redis_checks.check(redis_checks.connect(url), unsafe=True))
    assert "\n" not in str(refused.value) and "_ssl" not in str(refused.value)
    connection = client(url)
    with pytest.raises(UnavailableError):
        await RedisStore(connection).accept([trigger()])
    await connection.aclose()
