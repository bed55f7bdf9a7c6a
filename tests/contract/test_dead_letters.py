"""Dead letters in bulk: positions that survive removals, one change per death, and the budget of redrives."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis.asyncio

from dispatcher.adapters.redis.keys import Keys
from dispatcher.core.life.notification import DeadLetter, DeadLetterFilter, DeadPosition
from dispatcher.core.plan.values import Plan, VendorPlan
from dispatcher.operate.dead_letters import DeadLetters
from dispatcher.ports import Redriven
from tests.contract.worlds import World, dead, lanes

ALL = DeadLetterFilter()


async def pages(world: World, size: int, after: DeadPosition | None = None) -> list[list[DeadLetter]]:
    found = []
    while True:
        page = await world.views.dead_page(ALL, after, size)
        found.append(page.letters)
        if page.last is None:
            return found
        after = page.last


@pytest.mark.parametrize("times_ms", [[1000] * 7, [1000, 1000, 2000, 2000, 2000, 3000, 3000]], ids=["one ms", "few ms"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
async def test_pages_hold_each_letter_once(world: World, times_ms: list[int], size: int) -> None:
    """Whatever the page and however many died in one millisecond, each letter is met once, oldest first."""
    ids = await world.died(await world.actor(), times_ms)
    met = [letter for page in await pages(world, size) for letter in page]
    assert sorted(letter.id for letter in met) == sorted(ids)
    assert [(x.dead_ms, x.id) for x in met] == sorted((x.dead_ms, x.id) for x in met)


async def test_a_position_survives_removals(world: World) -> None:
    """A letter that leaves between two pages, even the position's own, moves no other letter's place."""
    me = await world.actor()
    ids = sorted(await world.died(me, [1000] * 6))
    page = await world.views.dead_page(ALL, None, 3)
    assert [letter.id for letter in page.letters] == ids[:3]
    assert await world.views.discard(page.letters) == 3
    page = await world.views.dead_page(ALL, page.last, 3)
    assert [letter.id for letter in page.letters] == ids[3:]


async def test_one_death_is_redriven_or_discarded_once(world: World) -> None:
    """A change that comes after the letter was redriven and died again finds another death, and leaves it."""
    me = await world.actor()
    (nid,) = await world.died(me, [1000])
    (letter,) = await world.letters()
    again = [Redriven(letter, "a", "normal", world.now_ms() + 60_000)]
    assert await world.views.redrive(again) == 1
    (claim,) = (await world.store.claim(me, lanes("a"), 1)).claims
    await world.store.apply(me, [(claim, dead())], 2000)
    assert [await world.views.redrive(again), await world.views.discard([letter])] == [0, 0]
    assert await world.state(nid) == "dead"
    assert await world.views.last_death() == 2000


async def test_the_budget_is_one_for_all_who_ask(world: World) -> None:
    """A second's worth may go at once, then as much as the pace gives; each mailbox has its own."""
    assert await world.views.budget("a", 8, 10.0) == (8, 0)
    granted, wait_ms = await world.views.budget("a", 8, 10.0)
    assert granted in (2, 3)
    assert 300 <= wait_ms <= 700  # five or six more, a tenth of a second each
    assert (await world.views.budget("a", 1, 10.0))[0] == 0
    assert await world.views.budget("b", 8, 10.0) == (8, 0)
    await asyncio.sleep(0.25)
    assert (await world.views.budget("a", 100, 10.0))[0] in (2, 3, 4)


async def test_a_budget_below_one_a_second_lets_one_go(world: World) -> None:
    """With a pace of one in two seconds, one letter goes at once and the next after two seconds."""
    assert await world.views.budget("a", 1, 0.5) == (1, 0)
    granted, wait_ms = await world.views.budget("a", 1, 0.5)
    assert (granted, 1500 < wait_ms <= 2000) == (0, True)


async def test_a_clock_set_back_does_not_close_the_budget(
    redis_world: World, redis_client: redis.asyncio.Redis
) -> None:
    """A budget paid for until an hour from now is no more than an empty one."""
    await redis_client.set(Keys().redrive_budget("a"), redis_world.now_ms() + 3_600_000)
    granted, wait_ms = await redis_world.views.budget("a", 1, 100.0)
    assert (granted, wait_ms) == (0, 10)


async def test_a_bulk_redrive_goes_on_by_its_cursor(world: World) -> None:
    """The calls reach the end and redrive each letter once; a letter that dies again waits for the next redrive."""
    me = await world.actor()
    now_ms = world.now_ms()
    ids = await world.died(me, [now_ms - 100] * 12)
    closed = VendorPlan("a", "closed", True, ("a",))
    operations = DeadLetters(world.views, "a".__eq__, lambda: Plan(1, 0, {"a": closed}), 1000.0, 10.0)
    cursor: str | None = None
    counts: list[int] = []
    redriven: list[Any] = []
    while cursor is not None or not counts:
        swept = await operations.redrive(DeadLetterFilter(limit=5), cursor, dry_run=False)
        counts.append(swept.count)
        cursor = swept.cursor
        for claim in (await world.store.claim(me, lanes("a"), 100)).claims:
            redriven.append(claim.notification.id)
            await world.store.apply(me, [(claim, dead())], world.now_ms() + 1)
    assert counts == [5, 5, 2]
    assert sorted(redriven) == sorted(ids)
    assert (await world.control.counts())["dead"] == 12
