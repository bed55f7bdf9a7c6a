"""Tests recipient caps in the store: they are exact and atomic, and a trigger that is accepted once counts once."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Iterable

import pytest
import redis.asyncio

from dispatcher.adapters.redis.keys import Keys
from dispatcher.adapters.redis.script_values import accept_call
from dispatcher.core.accepting.caps import Cap
from dispatcher.core.life.notification import Lane, NewTrigger
from dispatcher.deadline import timeout
from dispatcher.ports import STORED, AcceptReply, AcceptResult, Applied, Withdrawal, WithdrawResult
from tests.contract.worlds import (
    CAPPED,
    CONFLICT,
    FAILED,
    FULL,
    REPLAYED,
    RETENTION_MS,
    World,
    full,
    lanes,
    settle,
    trigger,
)

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
WINDOWS_MS = {"half a second": 500, "two seconds": 2_000, "eight seconds": 8_000}
"""The key of each cap and its window. If the machine is too slow for a window, the test tries the next one.

What a store answers after a stall of the machine proves nothing.
"""

MARGIN_MS = 20
"""The most by which the store's clock and the test's clock may differ over one window."""

TOO_SLOW = f"this machine did nothing for {max(WINDOWS_MS.values())} ms"


def capped(*caps: Cap, channels: int = 1, on: int | None = None, **changes: object) -> NewTrigger:
    """Return a trigger whose notifications are under these caps.

    If `on` is given, only the notification with this index is under the caps.
    """
    made = trigger(channels=channels, **changes)
    parts = tuple(
        dataclasses.replace(part, caps=caps) if on in (None, i) else part for i, part in enumerate(made.notifications)
    )
    return dataclasses.replace(made, notifications=parts)


def two(key: str = "k", per_ms: int = HOUR_MS) -> Cap:
    return Cap(key, 2, per_ms)


def within(since_s: float, window_ms: int) -> bool:
    """Return True if a window of `window_ms` that began at `since_s` has surely not ended yet."""
    return (time.monotonic() - since_s) * 1000 < window_ms - MARGIN_MS


async def test_what_is_over_the_cap_is_suppressed_and_never_claimed(world: World) -> None:
    """A notification over the cap is suppressed at once, with a reason. It is in no mailbox and cannot be withdrawn."""
    me = await world.actor()
    sent = [capped(two()) for _ in range(3)]
    assert await world.store.accept(sent) == [STORED, STORED, CAPPED]
    assert len((await world.store.claim(me, lanes("a"), 9)).claims) == 2
    (note,) = (await world.views.trigger(sent[2].id)).notifications
    assert (note.state, note.reason, note.vendor, note.attempts) == ("suppressed", "recipient_cap", "a", ())
    for to in ("cancelled", "settled", "dead"):
        assert await world.store.withdraw(note.id, to, "x") == Withdrawal(WithdrawResult.ENDED, "suppressed")
    assert await world.state(note.id) == "suppressed"
    assert set((await world.control.counts()).values()) == {0}


async def test_a_sibling_that_is_not_capped_goes_out(world: World) -> None:
    """If a cap suppresses one notification of a trigger, the other can still be claimed and settled."""
    me = await world.actor()
    assert await world.store.accept([capped(two()), capped(two())]) == [STORED, STORED]
    await world.store.claim(me, lanes("a"), 9)
    both = capped(two(), channels=2, on=0)
    assert await world.store.accept([both]) == [CAPPED]
    (claim,) = (await world.store.claim(me, lanes("a"), 9)).claims
    assert claim.notification.id == f"{both.id}.1"
    assert await world.store.apply(me, [(claim, settle())], world.now_ms()) == [Applied.DONE]
    assert [n.state for n in (await world.views.trigger(both.id)).notifications] == ["suppressed", "settled"]


async def test_siblings_to_one_recipient_see_each_other(world: World) -> None:
    """Three notifications of one trigger are under a cap of two. The third is suppressed."""
    assert await world.store.accept([capped(two(), channels=3)]) == [AcceptReply(AcceptResult.STORED, (2,))]


async def test_a_repeat_counts_once_and_a_conflict_not_at_all(world: World) -> None:
    """Under a recipient cap, a trigger that is posted again counts once, and a conflicting trigger does not count.

    If a suppressed trigger is posted again, the answer is REPLAYED.
    """
    first = capped(two())
    assert await world.store.accept([first, first, first]) == [STORED, REPLAYED, REPLAYED]
    assert await world.store.accept([dataclasses.replace(first, body_hash="other")]) == [CONFLICT]
    over = capped(two())
    assert await world.store.accept([capped(two()), over, over]) == [STORED, CAPPED, REPLAYED]


async def test_a_suppressed_one_counts_nowhere(world: World) -> None:
    """A notification that one cap suppresses does not count under its other caps."""
    wide, narrow = Cap("wide", 3, HOUR_MS), Cap("narrow", 1, HOUR_MS)
    assert await world.store.accept([capped(wide, narrow) for _ in range(9)]) == [STORED, *[CAPPED] * 8]
    assert await world.store.accept([capped(wide) for _ in range(3)]) == [STORED, STORED, CAPPED]
    assert await world.store.accept([capped(Cap("someone else", 1, HOUR_MS))]) == [STORED]


async def test_the_window_slides(world: World) -> None:
    """Under a cap of two, at most two notifications are accepted in any window, wherever the window begins."""
    for key, per_ms in WINDOWS_MS.items():
        cap, began_s = two(key, per_ms), time.monotonic()
        got = [await world.store.accept([capped(cap)])]
        await asyncio.sleep(0.6 * per_ms / 1000)
        second_s = time.monotonic()
        got.append(await world.store.accept([capped(cap), capped(cap)]))
        in_time = within(began_s, per_ms)
        await asyncio.sleep(0.5 * per_ms / 1000)  # 1.1 windows after the first, 0.5 after the second
        got.append(await world.store.accept([capped(cap), capped(cap)]))
        in_time &= within(second_s, per_ms)
        await asyncio.sleep(1.1 * per_ms / 1000)
        third_s = time.monotonic()
        got.append(await world.store.accept([capped(cap), capped(cap), capped(cap)]))
        if in_time and within(third_s, per_ms):
            assert got == [[STORED], [STORED, CAPPED], [STORED, CAPPED], [STORED, STORED, CAPPED]]
            return
    pytest.fail(TOO_SLOW)


async def test_a_changed_maximum_counts_what_was(world: World) -> None:
    """After a cap's maximum has changed, the notifications accepted before still count towards it."""
    assert await world.store.accept([capped(Cap("k", n, HOUR_MS)) for n in (2, 2, 3, 3)]) == [
        STORED,
        STORED,
        STORED,
        CAPPED,
    ]
    assert await world.store.accept([capped(Cap("k", 1, HOUR_MS))]) == [CAPPED]


async def test_one_that_is_to_wait_is_stopped_as_well(world: World) -> None:
    """Under a recipient cap, a trigger with a later `send_at` counts from its accept. A suppressed notification never
    becomes due.
    """
    later_ms = world.now_ms() + 500
    sent = [capped(two(), send_at_ms=later_ms) for _ in range(3)]
    assert await world.store.accept(sent) == [STORED, STORED, CAPPED]
    due: set[str] = set()
    async with timeout(30.0):
        while len(due) < 2:
            await asyncio.sleep(0.02)
            due = {entry.id for entry in (await world.store.due())[1]}
    assert due == {f"{t.id}.0" for t in sent[:2]}


async def age(redis_client: redis.asyncio.Redis, memory_world: World, keys: Iterable[str], by_ms: int) -> None:
    """Make the counts in both stores older, as if `by_ms` milliseconds had passed.

    A real wait would not be the same for both stores, because their clocks differ a little.
    """
    counts = memory_world.store._cell.caps
    for key in keys:
        counts[key] = [at_ms - by_ms for at_ms in counts.get(key, ())]
        stored = Keys().cap(key)
        times, left_ms = await redis_client.lrange(stored, 0, -1), await redis_client.pttl(stored)
        for i, at_ms in enumerate(times):
            await redis_client.lset(stored, i, int(at_ms) - by_ms)
        if times:
            await redis_client.pexpire(stored, left_ms - by_ms)  # a time in the past expires it at once


@pytest.mark.parametrize("seed", range(4))
async def test_both_stores_answer_alike(
    redis_world: World, redis_client: redis.asyncio.Redis, memory_world: World, seed: int
) -> None:
    """A random history of triggers, repeats and overlapping recipient caps is played on Redis and on the memory store.
    Both give the same answers.
    """
    dice = random.Random(seed)
    caps = [Cap(f"k{n}", dice.randrange(1, 4), dice.choice((MINUTE_MS, HOUR_MS))) for n in range(4)]
    known: list[NewTrigger] = []
    for _ in range(40):
        if known and dice.random() < 0.2:
            batch = [dice.choice(known)]
        else:
            batch = [
                capped(*dice.sample(caps, dice.randrange(4)), channels=dice.randrange(1, 4), on=dice.choice((None, 0)))
                for _ in range(dice.randrange(1, 4))
            ]
            known += batch
        assert await redis_world.store.accept(batch) == await memory_world.store.accept(batch)
        if dice.random() < 0.1:
            await age(redis_client, memory_world, (cap.key for cap in caps), MINUTE_MS + 10_000)


# ---- Redis alone


async def test_a_trigger_that_is_all_suppressed_is_compact_and_expires(
    redis_world: World, redis_client: redis.asyncio.Redis
) -> None:
    """If all notifications of a trigger are suppressed, its record has no data and expires. An open trigger does not
    expire.
    """
    sent = [capped(two()) for _ in range(3)]
    await redis_world.store.accept(sent)
    record = Keys().record(sent[2].id)
    assert not await redis_client.hexists(record, "d")
    assert 0 < await redis_client.pttl(record) <= RETENTION_MS
    assert await redis_client.pttl(Keys().record(sent[0].id)) == -1


async def test_counts_expire_with_their_window(redis_world: World, redis_client: redis.asyncio.Redis) -> None:
    """Redis keeps a list of the times that a cap counts. The list has at most as many times as the cap allows.

    The list expires when the cap's window has passed.
    """
    for key, per_ms in WINDOWS_MS.items():
        for _ in range(4):
            last_s = time.monotonic()
            assert await redis_world.store.accept([capped(two(key, per_ms))]) == [STORED]
            await asyncio.sleep(0.6 * per_ms / 1000)
        count, left_ms = await redis_client.llen(Keys().cap(key)), await redis_client.pttl(Keys().cap(key))
        if within(last_s, per_ms):
            assert count == 2
            assert 0 < left_ms <= per_ms
            return
    pytest.fail(TOO_SLOW)


async def test_a_refused_trigger_counts_nothing(redis_world: World, redis_client: redis.asyncio.Redis) -> None:
    """Redis is full, or an entry of a trigger cannot be written. The trigger is refused, and does not count for its cap
    on messages to a recipient.
    """
    once = Cap("once", 1, HOUR_MS)
    async with full(redis_client):
        assert await redis_world.store.accept([capped(once)]) == [FULL]
        assert await redis_client.keys("*") == []
    wrong = capped(once)
    part = dataclasses.replace(wrong.notifications[0], vendor="wrong")
    await redis_client.set(Keys().lane(Lane("wrong", "normal")), "no stream")
    assert await redis_world.store.accept([dataclasses.replace(wrong, notifications=(part,))]) == [FAILED]
    assert await redis_world.store.accept([capped(once), capped(once)]) == [STORED, CAPPED]
    async with full(redis_client):
        assert await redis_world.store.accept([capped(once)]) == [FULL]


async def test_without_caps_an_accept_is_what_it_was(redis_world: World) -> None:
    """For a trigger without caps, the accept script gets no additional keys or arguments."""
    call = accept_call(Keys(), RETENTION_MS, trigger(channels=2))
    assert (len(call.keys), len(call.args)) == (6 + 2, 12 + 2)
