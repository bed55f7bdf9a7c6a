"""Tests the control channel: terms, plans, depths and messages."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis.asyncio

from dispatcher.adapters.redis.control import DEAF_S, PLANS_KEPT, RedisControl
from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.redis.script_calls import client
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.core.plan.messages import Message, Sums
from dispatcher.core.plan.values import Beat, Override, Plan, Report
from dispatcher.core.store.continuity import Break, Continuity
from dispatcher.errors import RefusedError, StaleTermError, UnavailableError
from dispatcher.ports import STORED, Incarnation
from tests.chaos.bench.link import Link
from tests.contract.worlds import REPLAYED, World, dead, hold, plan, retry, trigger

KEYS = Keys()


async def test_a_plan_comes_back_as_it_was(world: World) -> None:
    """Before the first plan, `plan` returns None. A published plan is read unchanged, also by the next supervisor."""
    assert await world.control.plan() is None
    term, before = await world.control.begin_term()
    assert before == Plan()
    published = plan(before.epoch + 1)
    await world.control.publish(published, term)
    assert await world.control.plan() == published
    assert (await world.control.begin_term())[1] == published


async def test_a_later_term_fences_the_earlier(world: World) -> None:
    """After another supervisor has begun a term, the earlier one can neither publish nor declare an actor dead."""
    me = await world.actor()
    old, _ = await world.control.begin_term()
    new, _ = await world.control.begin_term()
    assert new > old
    with pytest.raises(StaleTermError):
        await world.control.publish(plan(1), old)
    with pytest.raises(StaleTermError):
        await world.control.bury({me: 0}, old)
    assert list(await world.control.live()) == [me]
    assert await world.control.plan() is None
    await world.control.bury({me: 0}, new)
    assert list(await world.control.live()) == []


async def test_a_verdict_on_one_that_has_renewed_itself_since_is_void(world: World) -> None:
    """An actor cannot be declared dead by a supervisor that does not know its latest renewal. A dead actor cannot
    renew.
    """
    term, _ = await world.control.begin_term()
    me: str = await world.control.register("a", 77, "here, or there")
    other = await world.actor()
    assert (await world.control.live())[me] == Incarnation(0, 77, "here, or there")
    assert await world.control.renew(me)
    assert await world.control.bury({me: 0, other: 0}, term) == [other]
    assert await world.control.live() == {me: Incarnation(1, 77, "here, or there")}
    assert await world.control.bury({me: 1}, term) == [me]
    assert not await world.control.renew(me)
    assert not await world.control.renew("a/99")
    assert await world.control.live() == {}


@pytest.mark.parametrize("found", [None, "", " ", "damaged", "007", "3 four five", "\n"])
async def test_whatever_is_known_of_its_process_one_can_be_buried_and_renewed(
    world: World, redis_client: redis.asyncio.Redis, found: str | None
) -> None:
    """The store's entry about an actor's process is missing or damaged. The actor can still renew, and can still be
    declared dead.
    """
    me, old = await world.actor(), await world.actor()
    for name in (me, old):
        await redis_client.hdel(KEYS.processes, name)
        if found is not None:
            await redis_client.hset(KEYS.processes, name, found)
    before = {name: one.renewed for name, one in (await world.control.live()).items()}
    assert await world.control.renew(me)
    assert (await world.control.live())[me].renewed == before[me] + 1
    term, _ = await world.control.begin_term()
    assert await world.control.bury(before, term) == [old]
    assert await world.control.bury({me: before[me] + 1}, term) == [me]


@pytest.mark.parametrize("epoch", [3, 4])
async def test_a_plan_that_comes_late_does_not_replace_a_later_one(world: World, epoch: int) -> None:
    """A plan with the epoch of the current plan, or a lower one, raises UnavailableError. The current plan stays."""
    term, _ = await world.control.begin_term()
    await world.control.publish(plan(4), term)
    with pytest.raises(UnavailableError):
        await world.control.publish(plan(epoch, reason="late"), term)
    assert await world.control.plan() == plan(4)


async def test_the_last_thousand_plans_are_kept(redis_world: World) -> None:
    """The history holds the last 1,000 plans, the newest first, each with its reason. Older plans are removed."""
    control = redis_world.control
    term, _ = await control.begin_term()
    for epoch in range(1, PLANS_KEPT + 6):
        await control.publish(replace(plan(epoch), reason=f"reason {epoch}"), term)
    kept = await control.plan_history(2 * PLANS_KEPT)
    assert PLANS_KEPT == 1000
    assert [(p["epoch"], p["reason"]) for p in kept] == [(n, f"reason {n}") for n in range(1005, 5, -1)]
    assert [p["epoch"] for p in await control.plan_history(2)] == [1005, 1004]


async def test_overrides_are_kept_until_taken_back(world: World) -> None:
    """An operator's override is kept until it is removed."""
    word = Override("a", "open", "ada", "Störung beim Anbieter", 17)
    await world.control.set_override("a", word)
    assert await world.control.overrides() == {"a": word}
    await world.control.set_override("a", None)
    assert await world.control.overrides() == {}


async def test_what_a_breaker_was_is_remembered_with_its_age(world: World) -> None:
    """`recall` returns the last remembered breaker state of a vendor, and its age. For an unknown vendor it returns
    None.
    """
    assert await world.control.recall("a") is None
    await world.control.remember("a", {"state": "closed"})
    await world.control.remember("a", {"state": "open", "rows": [[1, 2]]})
    await asyncio.sleep(0.02)
    found, age_ms = await world.control.recall("a")
    assert found == {"state": "open", "rows": [[1, 2]]}
    assert 10 <= age_ms < 5000
    assert await world.control.recall("b") is None


async def test_depths_and_counts_name_every_place(world: World) -> None:
    """`depths` returns each mailbox's entries by lane, its claimed entries and the age of its oldest entry.

    `counts` returns how many notifications are due, delayed, held and dead.
    """
    me = await world.actor()
    await world.queued(2, vendor="b", priority="bulk")
    _, one, two, three = await world.claimed(me, 4)
    await asyncio.sleep(0.005)
    now_ms = world.now_ms()
    await world.store.apply(me, [(one, retry(0)), (two, dead()), (three, hold(0))], now_ms)
    depths = await world.control.depths()
    assert sorted(depths) == ["a", "b"]
    assert depths["a"].queued == {"high": 0, "normal": 1, "bulk": 0}
    assert (depths["a"].claimed, depths["b"].claimed, depths["b"].total) == (1, 0, 2)
    assert 5 <= depths["a"].oldest_age_ms < 5000
    assert await world.control.counts() == {"due": 1, "delayed": 0, "held": 1, "dead": 1}


async def test_who_listens_hears(world: World) -> None:
    """A listener gets only the kinds of messages that it asked for, in order, and None while nothing comes."""
    heard: list[Message] = []
    listening = asyncio.Event()

    async def listen() -> None:
        async for message in world.control.listen(("beat", "plan")):
            listening.set()
            if message is not None:
                heard.append(message)
            if len(heard) == 2:
                return

    task = asyncio.ensure_future(listen())
    await asyncio.wait_for(listening.wait(), 2)
    await world.control.report(Report("a/1", "a", "closed"))
    await world.control.totals(Sums({"c": [], "h": []}))
    await world.control.beat(Beat("a/1", "a", "r", 7, "n"))
    term, _ = await world.control.begin_term()
    await world.control.publish(plan(1), term)
    await asyncio.wait_for(task, 2)
    assert heard == [Beat("a/1", "a", "r", 7, "n"), plan(1)]


async def test_the_ledger_counts_what_was_accepted(redis_world: World, redis_client: redis.asyncio.Redis) -> None:
    """The store's ledger counts each stored trigger once. The ledger's id (`life`) changes only when the store has been
    emptied.
    """
    assert await redis_world.control.ledger() is None
    again = trigger()
    await redis_world.store.accept([again])
    first = await redis_world.control.ledger()
    assert await redis_world.store.accept([again, trigger(), trigger()]) == [REPLAYED, STORED, STORED]
    second = await redis_world.control.ledger()
    assert (first.accepted, second.accepted, second.life) == (1, 3, first.life)
    await redis_client.flushall()
    await redis_world.store.accept([trigger()])
    third = await redis_world.control.ledger()
    assert third.accepted == 1
    assert third.life != first.life


@pytest.mark.parametrize("how", ["an older copy", "emptied"])
async def test_an_accept_notices_that_the_store_went_back(redis_client: redis.asyncio.Redis, how: str) -> None:
    """The store is emptied, or is replaced by an older copy. The next accept stores its triggers, and reports the loss
    once.
    """
    told: list[Break] = []
    store = RedisStore(redis_client, continuity=Continuity(), on_break=told.append)
    for _ in range(3):
        await store.accept([trigger()])
    if how == "an older copy":
        await redis_client.hset(KEYS.ledger, "n", 1)
    else:
        await redis_client.flushall()
    assert await store.accept([trigger(), trigger()]) == [STORED, STORED]
    assert [b.kind for b in told] == [{"an older copy": "went_back", "emptied": "replaced"}[how]]
    await store.accept([trigger()])
    assert len(told) == 1


async def test_the_plan_of_an_emptied_store_replaces_the_one_before(
    redis_world: World, redis_client: redis.asyncio.Redis
) -> None:
    """After the store was emptied, the supervisor can publish no plan, because its term is unknown to the store
    (StaleTermError).

    The plan of the next term replaces the old plan in every process, although its epoch is lower.
    """
    control = redis_world.control
    term, _ = await control.begin_term()
    await control.publish(plan(50), term)
    held = await control.plan()
    await redis_client.flushall()
    with pytest.raises(StaleTermError):
        await control.publish(plan(51), term)
    term, found = await control.begin_term()
    assert found == Plan()
    await control.publish(replace(plan(1), office="supervisor/2"), term)
    asked = await control.plan()
    assert (asked.epoch, asked.office) == (1, "supervisor/2")
    assert asked.replaces(held, asked_with=held)


async def test_a_subscription_that_went_silent_is_noticed(redis_url: str) -> None:
    """A subscription waits for messages over a connection that works. As long as none comes, it raises no error.

    Then the connection stays open, but nothing arrives over it any more. The subscription raises UnavailableError, and
    the next subscription works.
    """
    link = Link(Path(urlsplit(redis_url).path))
    connection = client(link.url)
    control = RedisControl(connection)
    try:
        messages = control.listen(("beat",))
        began_s = time.monotonic()
        while time.monotonic() - began_s < DEAF_S + 1.0:
            assert await anext(messages) is None
        assert link.mute_subscribers() == 1
        with pytest.raises(UnavailableError):
            while time.monotonic() - began_s < 3 * DEAF_S + 1.0:
                await anext(messages)
        again = control.listen(("beat",))
        await anext(again)
        await control.beat(Beat("a/1", "a", "r", 7, "n"))
        assert await anext(again) == Beat("a/1", "a", "r", 7, "n")
        await again.aclose()  # type: ignore[attr-defined]
    finally:
        await connection.aclose()
        link.close()


async def test_the_stores_clock_is_told(redis_world: World) -> None:
    """`now_ms` returns the store's wall time in milliseconds."""
    assert abs(await redis_world.control.now_ms() - redis_world.now_ms()) < 5000


async def test_a_lane_of_another_type_hides_no_other(redis_world: World, redis_client: redis.asyncio.Redis) -> None:
    """A lane whose key has another type counts as empty. The depths of all other lanes are shown."""
    await redis_world.queued(2, vendor="a")
    await redis_world.queued(1, vendor="b", priority="bulk")
    for damaged in ("high", "bulk", "bulk:fair"):
        await redis_client.set(f"{KEYS.prefix}mb:a:{damaged}", "what nobody wrote")
    depths = await redis_world.control.depths()
    assert depths["a"].queued == {"high": 0, "normal": 2, "bulk": 0}
    assert depths["b"].total == 1


async def test_a_command_that_a_key_makes_impossible_is_unavailable(
    redis_world: World, redis_client: redis.asyncio.Redis
) -> None:
    """A command on a key of another type raises RefusedError, and the connection serves the next command."""
    await redis_client.set(KEYS.plan, "what nobody wrote")
    with pytest.raises(RefusedError):
        await redis_world.control.plan()
    assert abs(await redis_world.control.now_ms() - redis_world.now_ms()) < 5000
