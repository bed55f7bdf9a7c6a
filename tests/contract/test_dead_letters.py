"""Tests operations on many dead letters: pages stay right while letters leave, each death allows one change, and a
budget limits the redrives.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis.asyncio

from dispatcher.adapters.redis.keys import Keys
from dispatcher.core.life.dead_letter import DeadLetter, DeadLetterFilter, DeadPosition
from dispatcher.core.life.notification import TemplatePin, pin_of
from dispatcher.core.plan.values import Plan, VendorPlan
from dispatcher.operate.dead_letters import DeadLetters
from dispatcher.ports import STORED, Redriven
from tests.contract.worlds import REPLAYED, World, dead, lanes, retry, trigger

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
    """Pages of any size return each dead letter once, the oldest first, even if many died in the same millisecond."""
    ids = await world.died(await world.actor(), times_ms)
    met = [letter for page in await pages(world, size) for letter in page]
    assert sorted(letter.id for letter in met) == sorted(ids)
    assert [(x.dead_ms, x.id) for x in met] == sorted((x.dead_ms, x.id) for x in met)


async def test_a_position_survives_removals(world: World) -> None:
    """After the letters of a page were discarded, the next page begins with the letter that follows them."""
    me = await world.actor()
    ids = sorted(await world.died(me, [1000] * 6))
    page = await world.views.dead_page(ALL, None, 3)
    assert [letter.id for letter in page.letters] == ids[:3]
    assert await world.views.discard(page.letters) == 3
    page = await world.views.dead_page(ALL, page.last, 3)
    assert [letter.id for letter in page.letters] == ids[3:]


async def test_one_death_is_redriven_or_discarded_once(world: World) -> None:
    """A letter was redriven and died again. A redrive or discard that was decided before the second death changes
    nothing.
    """
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
    """All callers share one budget of redrives into a mailbox. It first allows the redrives of one second, then only
    the given pace. The budget of another mailbox is not touched.
    """
    assert await world.views.budget("a", 8, 10.0) == (8, 0)
    granted, wait_ms = await world.views.budget("a", 8, 10.0)
    assert granted in (2, 3)
    assert 300 <= wait_ms <= 700  # five or six more, a tenth of a second each
    assert (await world.views.budget("a", 1, 10.0))[0] == 0
    assert await world.views.budget("b", 8, 10.0) == (8, 0)
    await asyncio.sleep(0.25)
    assert (await world.views.budget("a", 100, 10.0))[0] in (2, 3, 4)


async def test_a_budget_below_one_a_second_lets_one_go(world: World) -> None:
    """At a pace of 0.5 a second, one redrive may start at once, and the next has to wait for up to two seconds."""
    assert await world.views.budget("a", 1, 0.5) == (1, 0)
    granted, wait_ms = await world.views.budget("a", 1, 0.5)
    assert (granted, 1500 < wait_ms <= 2000) == (0, True)


async def test_a_clock_set_back_does_not_close_the_budget(
    redis_world: World, redis_client: redis.asyncio.Redis
) -> None:
    """The store's clock was set back by an hour, so the redrives seem to be used up for the next hour.

    The caller is told to wait for 10 ms, as if the budget had just been used up.
    """
    await redis_client.set(Keys().redrive_budget("a"), redis_world.now_ms() + 3_600_000)
    granted, wait_ms = await redis_world.views.budget("a", 1, 100.0)
    assert (granted, wait_ms) == (0, 10)


async def test_a_bulk_redrive_goes_on_by_its_cursor(world: World) -> None:
    """Calls with a cursor redrive each letter once and then end. A letter that dies again meanwhile is not redriven
    again.
    """
    me = await world.actor()
    now_ms = world.now_ms()
    ids = await world.died(me, [now_ms - 100] * 12)
    closed = VendorPlan("a", "closed", True, ("a",))
    operations = DeadLetters(world.views, "a".__eq__, lambda: Plan(1, 0, {"a": closed}), per_s=1000.0, slow_per_s=10.0)
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


NINE = TemplatePin("acme inc/receipt", 9, "0123456789abcdef")


async def test_what_a_redrive_changes_holds_wherever_the_letter_goes(world: World) -> None:
    """A chain and a template that a redrive has set are kept in the mailbox, after a retry, after a take and after a
    death.
    """
    me, other = await world.actor(), await world.actor("b")
    (nid,) = await world.died(me, [1000])
    (letter,) = await world.letters()
    changed = Redriven(letter, "b", "normal", world.now_ms() + 60_000, ("b", "c"), NINE)
    assert await world.views.redrive([changed]) == 1
    assert await world.views.routing_of([nid]) == [(("b", "c"), "normal", 86_400_000)]
    (claim,) = (await world.store.claim(other, lanes("b"), 5)).claims
    assert (claim.notification.chain, pin_of(claim.notification)) == (("b", "c"), NINE)
    await world.store.apply(other, [(claim, retry(0))], world.now_ms())
    (entry,) = (await world.store.due()).entries
    assert entry.chain == ("b", "c")
    await world.store.promote([(entry, "b")])
    (claim,) = (await world.store.claim(other, lanes("b"), 5)).claims
    await world.bury(other)
    heir = await world.actor("b")
    (taken,) = (await world.store.take(heir, lanes("b"))).claims
    assert (taken.notification.chain, pin_of(taken.notification)) == (("b", "c"), NINE)
    await world.store.apply(heir, [(taken, dead())], 3000)
    (letter,) = await world.letters()
    (whole,) = await world.views.accepted_of([nid])
    assert (whole.chain, whole.template, whole.to) == (("b", "c"), "acme inc/receipt", "+4915112345000")
    assert await world.views.redrive([Redriven(letter, "c", "normal", world.now_ms() + 60_000)]) == 1
    (again,) = (await world.store.claim(await world.actor("c"), lanes("c"), 5)).claims
    assert (again.notification.chain, pin_of(again.notification)) == (("b", "c"), NINE)
    shown = (await world.views.trigger(nid[:-2])).notifications[0]
    assert (shown.template, shown.template_version) == ("acme inc/receipt", 9)


async def test_what_a_redrive_changes_is_of_one_notification(world: World) -> None:
    """A redrive changes the chain and the template of one notification. The trigger's other notification stays as it
    was.

    If the trigger is posted again, the answer is still REPLAYED.
    """
    me, new = await world.actor(), trigger(channels=2)
    assert await world.store.accept([new]) == [STORED]
    claims = (await world.store.claim(me, lanes("a"), 5)).claims
    await world.store.apply(me, [(claims[0], dead())], 1000)
    (letter,) = await world.letters()
    assert (
        await world.views.redrive(
            [Redriven(letter, "b", "normal", world.now_ms() + 60_000, ("b",), TemplatePin("own", 4))]
        )
        == 1
    )
    own, sibling = await world.views.accepted_of([f"{new.id}.0", f"{new.id}.1"])
    assert [(n.chain, n.template_version) for n in (own, sibling)] == [(("b",), 4), (("a", "b"), 3)]
    assert await world.store.accept([new]) == [REPLAYED]


async def test_a_letter_that_is_gone_has_no_content(world: World) -> None:
    """For a notification without a record, `accepted_of` returns None."""
    assert await world.views.accepted_of(["0-never.0"]) == [None]
