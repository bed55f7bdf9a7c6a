"""Checks the outbox, which settles outcomes: many in one round trip, urgent outcomes at once.

No outcome is lost or reported twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from dispatcher.core.life.decide import Dead, Decision, Settle
from dispatcher.core.life.notification import Claim, Lane
from dispatcher.deliver.outbox import Item, Outbox
from dispatcher.errors import UnavailableError
from dispatcher.ports import Applied
from tests.unit.notifications import notification
from tests.virtual import VirtualClock, virtual


class Ledger:
    """A fake store for the outbox, which can only apply outcomes.

    Each call takes `duration_s`. The store can be away for some calls, lose replies or refuse entries.
    """

    def __init__(self, duration_s: float = 0.01) -> None:
        self.duration_s = duration_s
        self.trips: list[list[str]] = []
        self.applied: set[str] = set()
        self.away = 0
        self.lose = 0
        self.refuse: set[str] = set()
        self.reply = Applied.ERROR

    async def apply(self, me: str, decided: Sequence[tuple[Claim, Decision]], now_ms: int) -> list[str]:
        await asyncio.sleep(self.duration_s)
        if self.away > 0:
            self.away -= 1
            raise UnavailableError("away")
        self.trips.append([f"{me}:{claim.entry_id}" for claim, _ in decided])
        replies = []
        for claim, _ in decided:
            if claim.entry_id in self.refuse:
                replies.append(self.reply)
                continue
            replies.append(Applied.LOST if claim.entry_id in self.applied else Applied.DONE)
            self.applied.add(claim.entry_id)
        if self.lose > 0:
            self.lose -= 1
            raise UnavailableError("lost")
        return replies


class Scene:
    def __init__(self, busy: bool = True, duration_s: float = 0.01, interval_s: float = 0.1) -> None:
        self.ledger = Ledger(duration_s)
        self.busy = busy
        self.done: list[tuple[str, Applied]] = []
        self.refused: list[str] = []
        self.began_s = asyncio.get_running_loop().time()
        self.outbox = Outbox(
            self.ledger,  # type: ignore[arg-type]
            VirtualClock(),
            lambda: 0,
            interval_s=interval_s,
            idle=lambda: not self.busy,
            on_done=lambda item, reply: self.done.append((item[1].entry_id, reply)),
            on_refused=lambda item: self.refused.append(item[1].entry_id),
        )
        self.task = asyncio.ensure_future(self.outbox.run())

    def put(self, *names: str, urgent: bool = False, me: str = "a/1") -> None:
        for name in names:
            decision: Decision = Dead("rejected", None, 1) if urgent else Settle(None, 1)
            item: Item = (me, Claim(Lane("a", "normal"), name, notification()), decision)
            self.outbox.put(item)

    async def pass_s(self, seconds: float) -> list[int]:
        """Let this time pass. Return a list with the number of outcomes in each round trip to the store since the
        beginning.
        """
        await asyncio.sleep(seconds)
        return [len(trip) for trip in self.ledger.trips]


@virtual
async def test_successes_wait_for_company() -> None:
    """The outbox collects accepted outcomes for one interval and stores them in one round trip. None waits longer than
    the interval.
    """
    scene = Scene()
    for name in "abcd":
        scene.put(name)
        assert await scene.pass_s(0.02) == []
    assert await scene.pass_s(0.035) == [4]
    assert scene.done == [(name, Applied.DONE) for name in "abcd"]


@virtual
async def test_an_urgent_one_goes_at_once_and_takes_the_others_along() -> None:
    """An urgent outcome, such as a dead letter, goes to the store at once, and all waiting outcomes go with it."""
    scene = Scene()
    scene.put("a", "b")
    await scene.pass_s(0.01)
    scene.put("c", urgent=True)
    assert await scene.pass_s(0.011) == [3]


@virtual
async def test_a_lone_message_is_not_delayed() -> None:
    """If no other call is in flight, an outcome goes to the store at once."""
    scene = Scene(busy=False)
    scene.put("a")
    assert await scene.pass_s(0.011) == [1]


@virtual
async def test_the_last_call_in_flight_ends_the_wait() -> None:
    """An outcome waits for the outcomes of other calls, so that all go to the store together. When no call is in flight
    any more, `nudge` sends the outcome at once.
    """
    scene = Scene()
    scene.put("a")
    assert await scene.pass_s(0.02) == []
    scene.busy = False
    scene.outbox.nudge()
    assert await scene.pass_s(0.011) == [1]


@virtual
async def test_nothing_is_lost_while_the_store_is_away() -> None:
    """While the store is away, all outcomes stay in order, and `oldest_age_s` grows.

    When the store answers again, all are settled.
    """
    scene = Scene()
    scene.ledger.away = 20
    scene.put("a", "b")
    await scene.pass_s(1.0)
    scene.put("c", urgent=True)
    assert (len(scene.outbox), scene.done) == (3, [])
    assert scene.outbox.oldest_age_s() >= 1.0
    await scene.pass_s(3.0)
    assert [name for name, _ in scene.done] == ["a", "b", "c"]
    assert (len(scene.outbox), scene.outbox.oldest_age_s()) == (0, 0.0)


@virtual
async def test_a_lost_reply_is_told_once_and_as_lost() -> None:
    """The reply to a round trip is lost. The outcome is sent again, and is reported once, with the answer LOST."""
    scene = Scene(busy=False)
    scene.ledger.lose = 1
    scene.put("a")
    await scene.pass_s(1.0)
    assert scene.done == [("a", Applied.LOST)]


@virtual
async def test_a_cancelled_flush_loses_nothing() -> None:
    """If the loop is cancelled during a round trip, its outcomes stay, and the next flush settles them."""
    scene = Scene(busy=False, duration_s=0.05)
    scene.put("a", "b")
    await scene.pass_s(0.02)
    scene.task.cancel()
    await asyncio.gather(scene.task, return_exceptions=True)
    assert len(scene.outbox) == 2
    assert await scene.outbox.flush()
    assert [name for name, _ in scene.done] == ["a", "b"]


@virtual
async def test_two_flushes_at_once_tell_each_item_once() -> None:
    """Two outcomes wait, and `flush` is called twice at the same time. Each outcome is reported once, as DONE."""
    scene = Scene(busy=False, duration_s=0.05)
    scene.put("a", "b")
    await scene.pass_s(0.01)
    await asyncio.gather(scene.outbox.flush(), scene.outbox.flush())
    assert scene.done == [("a", Applied.DONE), ("b", Applied.DONE)]


@virtual
async def test_a_refused_item_stays_and_its_neighbours_go() -> None:
    """An outcome that the store answers with an error stays and is tried again, and the outcomes beside it are
    settled.
    """
    scene = Scene(busy=False)
    scene.ledger.refuse = {"b"}
    scene.put("a", "b", "c")
    await scene.pass_s(0.5)
    assert [name for name, _ in scene.done] == ["a", "c"]
    scene.ledger.refuse = set()
    await scene.pass_s(0.5)
    assert scene.done[-1] == ("b", Applied.DONE)


@virtual
async def test_a_round_trip_speaks_for_one_incarnation() -> None:
    """The outbox has outcomes of two incarnations. Each round trip has outcomes of one incarnation only, and at most
    256 of them.
    """
    scene = Scene()
    scene.put(*(f"x{n}" for n in range(300)), me="a/1")
    scene.put("y", me="a/2", urgent=True)
    await scene.pass_s(1.0)
    assert [len(trip) for trip in scene.ledger.trips] == [256, 44, 1]
    assert scene.ledger.trips[-1] == ["a/2:y"]
    assert len(scene.done) == 301


@virtual
async def test_what_the_store_will_not_take_stands_aside() -> None:
    """An outcome that the store refuses is reported once and tried again every five seconds.

    The other outcomes are settled, and the refused outcome does not count for `oldest_age_s`.
    """
    scene = Scene()
    scene.ledger.refuse, scene.ledger.reply = {"bad"}, Applied.REFUSED
    scene.put("a", "bad", "b")
    await scene.pass_s(12.0)
    assert sorted(scene.done, key=str) == [("a", Applied.DONE), ("b", Applied.DONE)]
    assert scene.refused == ["bad"]
    assert sum("a/1:bad" in trip for trip in scene.ledger.trips) == 3
    assert scene.outbox.oldest_age_s() < 1.0
    scene.ledger.refuse = set()
    await scene.pass_s(6.0)
    assert ("bad", Applied.DONE) in scene.done
    await scene.pass_s(60.0)
    assert len(scene.done) == 3


@virtual
async def test_an_error_of_the_store_holds_everything_up() -> None:
    """The store answers one outcome with an error. `oldest_age_s` then grows, so that the courier begins no new work.

    The outcome is not reported as refused, because it may be stored later.
    """
    scene = Scene()
    scene.ledger.refuse = {"bad"}
    scene.put("a", "bad", "b")
    await scene.pass_s(3.0)
    assert scene.outbox.oldest_age_s() > 2.5
    assert scene.refused == []


@virtual
async def test_too_many_refused_are_the_stores_fault_after_all() -> None:
    scene = Scene()
    names = [f"bad{n}" for n in range(101)]
    scene.ledger.refuse, scene.ledger.reply = set(names), Applied.REFUSED
    scene.put(*names)
    await scene.pass_s(3.0)
    assert scene.outbox.oldest_age_s() > 2.0
