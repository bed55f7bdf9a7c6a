"""A bulk redrive chooses the vendor and the pace, and refuses letters whose vendors are down.

Each call is bounded, and the next one continues at its cursor.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.core.life.dead_letter import DeadLetterFilter, DeadPosition
from dispatcher.core.life.decide import Dead
from dispatcher.core.life.redrive import Cursor, Go, Refused, decide_redrive
from dispatcher.core.plan.values import Plan
from dispatcher.errors import CallerError
from dispatcher.operate.dead_letters import EXAMINED_MAX, BulkResult, DeadLetters
from tests.unit.stage import Stage, plan_of
from tests.virtual import run_virtual, virtual

AB = ("a", "b")


@pytest.mark.parametrize(
    ("states", "chain", "verdict"),
    [
        ({"a": "closed", "b": "closed"}, AB, Go("a", slowly=False)),
        ({"a": "half_open", "b": "closed"}, AB, Go("b", slowly=True)),
        ({"a": "open", "b": "closed"}, AB, Go("b", slowly=True)),
        ({"a": "closed", "b": "absent"}, AB, Go("a", slowly=True)),
        ({"a": "open", "b": "half_open"}, AB, Go("b", slowly=True)),
        ({"a": "open", "b": "absent"}, AB, Refused("a is open, b is absent")),
        ({"a": "open", "b": "closed"}, ("a",), Refused("a is open")),
        ({"a": "closed", "b": "open"}, ("a",), Go("a", slowly=False)),
        ({"a": "closed"}, ("gone", "a"), Go("a", slowly=False)),
        ({"a": "closed"}, ("gone",), Refused("no vendor of its chain is configured")),
        ({}, AB, Go("a", slowly=False)),
    ],
)
def test_the_rule(states: dict[str, str], chain: tuple[str, ...], verdict: Go | Refused) -> None:
    """A redrive goes at full pace if all vendors of the letter's chain accept new work, and at slow pace if only some
    of them do.

    If none does, the redrive is refused. Vendors that are not in the chain do not count.
    """
    plan = plan_of(**states) if states else Plan()
    assert decide_redrive(chain, plan, AB.__contains__) == verdict


class Yard:
    """A memory store with dead letters, and the operations on them."""

    def __init__(self, per_s: float = 100.0, slow_per_s: float = 5.0, **states: str) -> None:
        self.stage = Stage()
        self.plan = plan_of(**(states or {"a": "closed", "b": "closed"}))
        self.views, self.store = self.stage.views, MemoryStore(self.stage.cell)
        self.operations = DeadLetters(
            self.views, AB.__contains__, lambda: self.plan, per_s=per_s, slow_per_s=slow_per_s, wall_ms=self.wall_ms
        )

    def wall_ms(self) -> int:
        return self.stage.clock.wall_ms()

    async def die(self, count: int = 1, reason: str = "late", **changes: Any) -> list[str]:
        """Accept `count` notifications and make them dead letters at once, without a courier. Return their ids."""
        ids = await self.stage.accept(count, **changes)
        for nid in ids:
            await self.store.withdraw(nid, "dead", reason)
        return ids

    async def sweep(self, limit: int = 50, **changes: Any) -> list[BulkResult]:
        """Redrive everything that the filter matches, waiting between calls as long as each answer says."""
        wanted, found, cursor = DeadLetterFilter(limit=limit, **changes), list[BulkResult](), None
        while cursor is not None or not found:
            swept = await self.operations.redrive(wanted, cursor, dry_run=False)
            found.append(swept)
            cursor = swept.cursor
            await asyncio.sleep(swept.wait_s)
        return found


@virtual
async def test_a_sweep_is_paced() -> None:
    """One vendor of the chain is half open, so letters are redriven at the slow pace of 5 a second. 32 letters take at
    least five seconds.
    """
    yard = Yard(a="half_open", b="closed")
    await yard.die(32)
    began_s = yard.stage.clock.now_s()
    swept = await yard.sweep()
    assert sum(s.count for s in swept) == 32
    assert 5.0 <= yard.stage.clock.now_s() - began_s <= 6.5
    assert max(s.count for s in swept) <= 5
    assert len(swept) <= 8, "the wait must be worth a call"


@virtual
async def test_two_sweeps_share_the_pace() -> None:
    """Two bulk redrives at the same time are together no faster than one."""
    yard = Yard(a="open", b="closed")
    await yard.die(30)
    began_s = yard.stage.clock.now_s()
    swept = [s for found in await asyncio.gather(yard.sweep(), yard.sweep()) for s in found]
    assert sum(s.count for s in swept) == 30
    assert yard.stage.clock.now_s() - began_s >= 4.8


@virtual
async def test_a_vendor_that_closes_meanwhile_lifts_the_pace() -> None:
    """A bulk redrive is slow while a vendor's breaker is half open. Then all breakers close. The next call redrives the
    rest at full pace, because each call reads the plan again.
    """
    yard = Yard(a="half_open", b="closed")
    await yard.die(100)
    first = await yard.operations.redrive(DeadLetterFilter(limit=1000), None, dry_run=False)
    assert first.count == 5
    yard.plan = plan_of(a="closed", b="closed")
    await asyncio.sleep(1.0)
    rest = await yard.operations.redrive(DeadLetterFilter(limit=1000), first.cursor, dry_run=False)
    assert (rest.count, rest.cursor) == (95, None)


@virtual
async def test_with_all_vendors_down_they_stay_and_say_why() -> None:
    """If all vendors are down, every letter stays. The sweep ends and counts the refused letters by reason."""
    yard = Yard(a="open", b="open")
    await yard.die(120)
    (only,) = await yard.sweep(limit=1000)
    assert (only.count, only.refused) == (0, {"a is open, b is open": 120})
    assert len(yard.stage.cell.dead) == 120


@virtual
async def test_maybe_sent_ones_must_be_named() -> None:
    """A bulk redrive leaves letters that were maybe sent, unless the filter names their reason."""
    yard = Yard()
    (held,) = await yard.die(1, "unknown")
    await yard.die(1, "late")
    (swept,) = await yard.sweep()
    assert (swept.count, sum(swept.refused.values())) == (1, 1)
    assert list(yard.stage.cell.dead) == [held]
    (swept,) = await yard.sweep(reason="unknown")
    assert swept.count == 1


@virtual
async def test_a_dry_run_counts_and_changes_nothing() -> None:
    """A dry run counts what would be redriven or discarded. It changes nothing and uses up no pace.

    The bulk redrive after it redrives that number.
    """
    yard = Yard(per_s=40.0)
    await yard.die(30)
    for _ in range(3):
        swept = await yard.operations.redrive(DeadLetterFilter(limit=1000), None, dry_run=True)
        assert (swept.count, swept.cursor, len(yard.stage.cell.dead)) == (30, None, 30)
    gone = await yard.operations.discard(DeadLetterFilter(limit=1000), None, dry_run=True)
    assert (gone.count, len(yard.stage.cell.dead)) == (30, 30)
    (swept,) = await yard.sweep()
    assert (swept.count, len(yard.stage.cell.dead)) == (30, 0)


@virtual
async def test_what_dies_again_is_not_tried_again_by_the_same_sweep() -> None:
    """The letters of a bulk redrive die again at once. The redrive still tries each letter only once and ends."""
    yard = Yard()
    await yard.die(10)
    courier = await yard.stage.courier(_Silent(), run=False)
    found, cursor = [], None
    while cursor is not None or not found:
        swept = await yard.operations.redrive(DeadLetterFilter(limit=4), cursor, dry_run=False)
        found.append(swept.count)
        cursor = swept.cursor
        await asyncio.sleep(0.01)
        claims = (await yard.store.claim(courier.me, courier.lanes(), 100)).claims
        died = [(claim, Dead("again", None, 1)) for claim in claims]
        await yard.store.apply(courier.me, died, yard.wall_ms())
    assert found == [4, 4, 2]
    assert len(yard.stage.cell.dead) == 10


@virtual
async def test_a_filter_that_matches_nothing_answers_soon() -> None:
    """A filter matches no letter. One call still examines at most `EXAMINED_MAX` letters, and returns a cursor at which
    the next call continues.
    """
    yard = Yard()
    await yard.die(EXAMINED_MAX + 10)
    letters, cursor = await yard.operations.listing(DeadLetterFilter(reason="other"), None)
    assert (letters, cursor is None) == ([], False)
    assert await yard.operations.listing(DeadLetterFilter(reason="other"), cursor) == ([], None)


@pytest.mark.parametrize("text", ["", "x", "1.2", "1.2.A b", "9999999999999999.1.a", "1.2.a\n"])
@virtual
async def test_a_cursor_that_is_not_ours_is_refused(text: str) -> None:
    """A cursor that we did not make is refused, and the error names the field `cursor`."""
    with pytest.raises(CallerError, match="cursor"):
        await Yard().operations.listing(DeadLetterFilter(), text)


def test_a_cursor_is_its_text() -> None:
    """A cursor is written as text and read back. The result is the same cursor."""
    cursor = Cursor(1_700_000_000_000, DeadPosition(1_600_000_000_000, "0-abc.12"))
    assert Cursor.parse(str(cursor)) == cursor


class _Silent:
    name, channel = "a", "sms"

    async def send(self, *_: Any) -> Any:
        raise AssertionError("nothing is sent here")

    async def close(self) -> None:
        return None


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(["ab", "a", "b"]), st.sampled_from(["late", "unknown"])), max_size=60),
    st.integers(1, 30),
    st.sampled_from([{"a": "closed", "b": "closed"}, {"a": "open", "b": "closed"}, {"a": "open", "b": "open"}]),
)
def test_a_sweep_decides_on_every_letter_once(kinds: list[tuple[str, str]], limit: int, states: dict[str, str]) -> None:
    """A bulk redrive ends, for any chains, limit and breaker states. Each letter was then either redriven or refused,
    once.
    """

    async def scene() -> None:
        yard = Yard(per_s=50.0, slow_per_s=7.0, **states)
        for chain, reason in kinds:
            await yard.die(1, reason, chain=tuple(chain), vendor=chain[0])
            await asyncio.sleep(0.0004)
        swept = await yard.sweep(limit)
        count, refused = sum(s.count for s in swept), sum(sum(s.refused.values()) for s in swept)
        assert count + refused == len(kinds) == sum(s.matched for s in swept)
        assert len(yard.stage.cell.dead) == refused

    run_virtual(scene())
