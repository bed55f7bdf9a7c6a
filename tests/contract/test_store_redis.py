"""Tests what only a real Redis shows: scripts that it forgot, lost replies, and entries that do not fit a record."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis.asyncio

from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.redis.script_calls import Call, client, run, run_one, script
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.core.life.dead_letter import DeadLetterFilter
from dispatcher.core.life.notification import Lane
from dispatcher.errors import UnavailableError
from dispatcher.ports import STORED, Applied, Redriven, Withdrawal, WithdrawResult
from tests.contract.worlds import (
    ENDINGS,
    FAILED,
    RETENTION_MS,
    World,
    dead,
    lanes,
    settle,
    trigger,
)

KEYS = Keys()
LANE = KEYS.lane(Lane("a", "normal"))


@pytest.fixture
def world(redis_world: World) -> World:
    return redis_world


# ---- the client


def test_the_data_path_never_sends_twice() -> None:
    """The client makes no retries of its own, because a retry could claim or accept a second time."""
    connection = client("unix:///nowhere")
    pool = connection.connection_pool
    made = pool.make_connection()
    assert made.retry.get_retries() == 0
    assert made.retry_on_error == []
    assert not made.retry_on_timeout
    assert made.protocol == 2


async def test_more_questions_than_connections_wait(redis_client: redis.asyncio.Redis, redis_url: str) -> None:
    """Fifty commands are sent at once over two connections. A client with `queues_s` lets commands wait and answers
    all.

    A client without `queues_s` refuses some of the commands. Neither client sends a command twice.
    """
    queueing, strict = client(redis_url, connections_max=2, queues_s=2.0), client(redis_url, connections_max=2)
    assert queueing.connection_pool.make_connection().retry.get_retries() == 0
    assert sorted(await asyncio.gather(*(queueing.incr("n") for _ in range(50)))) == list(range(1, 51))
    refused = await asyncio.gather(*(strict.incr("n") for _ in range(50)), return_exceptions=True)
    assert any(isinstance(reply, redis.exceptions.ConnectionError) for reply in refused)
    await queueing.aclose()
    await strict.aclose()


async def test_a_lost_reply_is_not_asked_for_again(redis_client: redis.asyncio.Redis, redis_url: str) -> None:
    """The server answers after the client's time-out. The call raises UnavailableError, and the script has run at most
    once.
    """
    impatient = client(redis_url, timeout_s=0.5)
    await impatient.ping()
    await redis_client.execute_command("CLIENT", "PAUSE", "1000")
    with pytest.raises(UnavailableError):
        await run(
            impatient, [Call("register", [KEYS.actors, KEYS.incarnations, KEYS.nil, KEYS.processes], ["a", 0, "", "t"])]
        )
    await asyncio.sleep(0.6)
    assert int(await redis_client.get(KEYS.incarnations) or 0) <= 1
    await impatient.aclose()


async def test_an_unreachable_redis_is_unavailable() -> None:
    """If Redis cannot be reached, every method of the store raises UnavailableError."""
    store = RedisStore(client("unix:///nowhere/s"))
    for call in (
        store.accept([trigger()]),
        store.claim("a/1", lanes("a"), 1),
        store.wait("a/1", lanes("a"), 1, 10),
        store.own("a/1", lanes("a"), set()),
        store.take("a/1", lanes("a")),
        store.due(),
        store.overdue_held(),
        store.expired(Lane("a", "high"), ""),
        store.withdraw("0-x.0", "cancelled", "x"),
    ):
        with pytest.raises(UnavailableError):
            await call


# ---- forgetful


async def test_forgotten_scripts_are_loaded_again(world: World, redis_client: redis.asyncio.Redis) -> None:
    """Redis has forgotten all scripts, as after a restart. A batch of decisions is still applied, each once."""
    me = await world.actor()
    one, two, three = await world.claimed(me, 3)
    await redis_client.script_flush()
    decided = [(one, settle()), (two, dead()), (three, settle())]
    assert await world.store.apply(me, decided, world.now_ms()) == [Applied.DONE, Applied.DONE, Applied.DONE]


async def test_only_the_forgotten_half_of_a_pipeline_is_sent_again(
    world: World, redis_client: redis.asyncio.Redis
) -> None:
    """A pipeline has calls of two scripts, and Redis has forgotten one of the scripts.

    Only the call of the forgotten script is sent again. The calls of the other script are run only once.
    """
    await redis_client.script_flush()
    await redis_client.script_load(script("register").body)
    keys = [KEYS.actors, KEYS.incarnations, KEYS.nil, KEYS.processes]
    first, term, second = await run(
        redis_client,
        [
            Call("register", keys, ["a", 0, "", "t"]),
            Call("begin_term", [KEYS.plan, KEYS.nil], []),
            Call("register", keys, ["a", 0, "", "t"]),
        ],
    )
    assert (first, second, term[0]) == ("a/1-t", "a/2-t", 1)


async def test_a_mailbox_that_was_lost_does_not_stall_its_courier(
    world: World, redis_client: redis.asyncio.Redis
) -> None:
    """A mailbox has vanished after an entry was claimed, as after a restored backup. A decision about this claim is
    answered LOST, and the send cannot be started.
    """
    me = await world.actor()
    (claim,) = await world.claimed(me)
    await redis_client.delete(LANE)
    assert await world.store.apply(me, [(claim, settle())], world.now_ms()) == [Applied.LOST]
    assert not await world.store.start(me, claim)


# ---- scripts that fail half-way


DESTINATIONS = {"retry": KEYS.due, "dead": KEYS.dead, "hold": KEYS.held, "move": KEYS.lane(Lane("b", "normal"))}


@pytest.mark.parametrize("ending", DESTINATIONS)
async def test_an_error_repeats_and_cannot_lose(world: World, redis_client: redis.asyncio.Redis, ending: str) -> None:
    """The key of the place to which a decision leads has another type. The decision is REFUSED, and the entry stays
    pending.

    After the key is deleted, the same decision is applied.
    """
    me = await world.actor()
    (claim,) = await world.claimed(me)
    decision = ENDINGS[ending]
    await redis_client.set(DESTINATIONS[ending], "of another type")
    assert await world.store.apply(me, [(claim, decision)], world.now_ms()) == [Applied.REFUSED]
    assert len((await world.store.own(me, lanes("a"), set())).claims) == 1
    await redis_client.delete(DESTINATIONS[ending])
    assert await world.store.apply(me, [(claim, decision)], world.now_ms()) == [Applied.DONE]


async def test_an_accept_that_fails_is_no_accept(world: World, redis_client: redis.asyncio.Redis) -> None:
    """Redis cannot write the second entry of an accept, so the accept fails. Its first entry is then reported as an
    orphan and dropped.

    When the same trigger is posted again, it is STORED.
    """
    sent = trigger(channels=2)
    broken = trigger(channels=2, id=sent.id)
    broken_notifications = (broken.notifications[0], _in_mailbox(broken.notifications[1], "wrong"))
    await redis_client.set(KEYS.lane(Lane("wrong", "normal")), "not a stream")
    assert await world.store.accept([trigger(id=sent.id, notifications=broken_notifications)]) == [FAILED]
    me = await world.actor()
    got = await world.store.claim(me, lanes("a"), 5)
    assert (got.claims, len(got.orphans)) == ([], 1)
    await world.store.drop(me, got.orphans)
    assert await redis_client.xlen(LANE) == 0
    assert await world.store.accept([sent]) == [STORED]


# ---- entries nobody can explain


async def test_an_entry_without_a_record_is_an_orphan(world: World, redis_client: redis.asyncio.Redis) -> None:
    """An entry without a record is reported as an orphan. Dropping it removes it and makes no record."""
    await redis_client.xadd(LANE, {"n": "0-nobody.0"})
    me = await world.actor()
    got = await world.store.claim(me, lanes("a"), 5)
    assert (got.claims, [nid for _, _, nid in got.orphans]) == ([], ["0-nobody.0"])
    await world.store.drop(me, got.orphans)
    assert (await redis_client.xlen(LANE), await redis_client.exists(KEYS.record("0-nobody"))) == (0, 0)


@pytest.mark.parametrize("how", ["claim", "wait", "own", "take"])
async def test_a_second_entry_of_a_notification_is_never_sent(
    world: World, redis_client: redis.asyncio.Redis, how: str
) -> None:
    """A notification has two entries. Only the entry that its record names is claimed, and the other is an orphan."""
    (nid,) = await world.queued(1)
    second = await redis_client.xadd(LANE, {"n": nid})
    me, other = await world.actor(), await world.actor()
    if how == "wait":
        await world.store.claim(other, lanes("unused"), 1)
        await redis_client.xgroup_create(LANE, "g", "0")
        got = await world.store.wait(me, [Lane("a", "normal")], 5, 10)
    else:
        got = await world.store.claim(me, lanes("a"), 5)
    if how == "own":
        got = await world.store.own(me, lanes("a"), set())
    if how == "take":
        await world.bury(me)
        me, got = other, await world.store.take(other, lanes("a"))
    assert [c.notification.id for c in got.claims] == [nid]
    assert got.orphans == [(Lane("a", "normal"), second, nid)]
    await world.store.drop(me, got.orphans)
    assert await world.state(nid) == "queued"
    assert await world.store.apply(me, [(got.claims[0], settle())], world.now_ms()) == [Applied.DONE]


async def test_an_entry_deleted_while_pending_is_counted(world: World, redis_client: redis.asyncio.Redis) -> None:
    """The body of an entry was deleted while the entry was claimed. A take counts the entry once as lost, and removes
    the claim.
    """
    dying, me = await world.actor(), await world.actor()
    gone, kept = await world.claimed(dying, 2)
    await redis_client.xdel(LANE, gone.entry_id)
    await world.bury(dying)
    got = await world.store.take(me, lanes("a"))
    assert (got.lost, [c.entry_id for c in got.claims]) == (1, [kept.entry_id])
    assert (await world.store.take(me, lanes("a"))).lost == 0
    assert (await redis_client.xpending(LANE, "g"))["pending"] == 1


async def test_the_bodies_of_my_own_lost_entries_do_not_break_the_audit(
    world: World, redis_client: redis.asyncio.Redis
) -> None:
    """The body of one of an actor's pending entries was deleted. The actor's audit (`own`) still returns its other
    entry.
    """
    me = await world.actor()
    gone, kept = await world.claimed(me, 2)
    await redis_client.xdel(LANE, gone.entry_id)
    assert [c.entry_id for c in (await world.store.own(me, lanes("a"), set())).claims] == [kept.entry_id]


async def test_a_due_entry_without_a_record_leaves(world: World, redis_client: redis.asyncio.Redis) -> None:
    """An entry in `due` has no record. Withdrawing it removes it from `due`."""
    await redis_client.zadd(KEYS.due, {"0-nobody.0": 1})
    _, (entry,) = await world.store.due()
    assert (entry.chain, entry.expires_ms) == ((), 0)
    assert await world.store.withdraw(entry.id, "dead", "expired") == Withdrawal(WithdrawResult.ENDED, "absent")
    assert (await world.store.due())[1] == []


# ---- records


async def test_a_record_expires_after_the_last_notification_only(
    world: World, redis_client: redis.asyncio.Redis
) -> None:
    """A record expires only after the last of its notifications has ended. Then its personal data is removed."""
    me = await world.actor()
    sent = trigger(channels=3)
    await world.store.accept([sent])
    record = KEYS.record(sent.id)
    one, two, three = (await world.store.claim(me, lanes("a"), 5)).claims
    for claim, decision in ((one, settle()), (two, dead()), (three, settle())):
        await world.store.apply(me, [(claim, decision)], world.now_ms())
        assert await redis_client.pttl(record) == -1
        assert await redis_client.hexists(record, "d")
    (letter,) = await world.letters(DeadLetterFilter())
    await world.views.redrive([Redriven(letter, "a", "normal", world.now_ms() + 1000)])
    assert await redis_client.pttl(record) == -1
    (again,) = (await world.store.claim(me, lanes("a"), 5)).claims
    await world.store.apply(me, [(again, settle())], world.now_ms())
    assert 0 < await redis_client.pttl(record) <= RETENTION_MS
    assert not await redis_client.hexists(record, "d")


@pytest.mark.parametrize("end", ["withdraw", "discard"])
async def test_other_ends_expire_the_record_too(world: World, redis_client: redis.asyncio.Redis, end: str) -> None:
    """A notification is cancelled, or discarded as a dead letter. Its record gets an expiry time, and its personal data
    is removed.
    """
    me = await world.actor()
    if end == "withdraw":
        (nid,) = await world.queued(1)
        await world.store.withdraw(nid, "cancelled", "cancelled")
    else:
        (claim,) = await world.claimed(me)
        nid = claim.notification.id
        await world.store.apply(me, [(claim, dead())], world.now_ms())
        await world.views.discard(await world.letters(DeadLetterFilter()))
    record = KEYS.record(nid[:-2])
    assert 0 < await redis_client.pttl(record) <= RETENTION_MS
    assert not await redis_client.hexists(record, "d")


async def test_a_cancelled_wait_loses_nothing(world: World, redis_client: redis.asyncio.Redis) -> None:
    """A blocking read is cancelled while an entry arrives. The entry is not lost, because the actor's audit (`own`)
    finds it.

    A later wait can be woken.
    """
    me = await world.actor()
    await world.store.claim(me, lanes("a"), 1)
    waiting = asyncio.ensure_future(world.store.wait(me, lanes("a"), 1, 2000))
    await asyncio.sleep(0.02)
    (nid,) = await world.queued(1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    again = await world.store.claim(me, lanes("a"), 1)
    found = await world.store.own(me, lanes("a"), set())
    assert [c.notification.id for c in found.claims] == [nid]
    assert len(again.claims) <= 1
    # A wait after it is woken too, though its connection is a new one.
    waiting = asyncio.ensure_future(world.store.wait(me, lanes("a"), 1, 5000))
    await asyncio.sleep(0.02)
    await world.store.wake()
    await asyncio.wait_for(waiting, 0.5)


async def test_a_script_error_is_no_answer(redis_client: redis.asyncio.Redis) -> None:
    """If a script fails, `run_one` raises UnavailableError that names the script."""
    with pytest.raises(UnavailableError, match="promote"):
        await run_one(redis_client, "promote", [KEYS.due], [])


def _in_mailbox(notification: Any, vendor: str) -> Any:
    import dataclasses

    return dataclasses.replace(notification, vendor=vendor)


async def test_a_take_that_the_store_refuses_is_told_and_stops_no_other(
    world: World, redis_client: redis.asyncio.Redis
) -> None:
    """A dead actor had claims in two lanes. The take fails in one lane, because the key of held notifications is
    damaged. It reports this error and takes the claim in the other lane.

    After the key is repaired, the notification in the first lane, whose send had begun, becomes held.
    """
    dying = await world.actor()
    (begun,) = await world.claimed(dying, 1, on_unknown="hold")
    assert await world.store.start(dying, begun)
    await world.queued(1, priority="bulk")
    assert len((await world.store.claim(dying, [Lane("a", "bulk")], 1)).claims) == 1
    await world.bury(dying)
    await redis_client.set(KEYS.held, "of another type")
    me = await world.actor()
    got = await world.store.take(me, lanes("a"))
    assert [claim.lane.priority for claim in got.claims] == ["bulk"]
    (told,) = got.refused
    assert told.startswith(f"{KEYS.lane(Lane('a', 'normal'))}: ") and "WRONGTYPE" in told
    await redis_client.delete(KEYS.held)
    got = await world.store.take(me, lanes("a"))
    assert got.refused == []
    assert await world.state(begun.notification.id) == "held"
