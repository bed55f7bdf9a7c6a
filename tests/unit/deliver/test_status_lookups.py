"""Checks the loop that asks a vendor about held notifications: how often, about which, and what an answer does."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.life.look_up import Listing, Sighting
from dispatcher.core.life.notification import NewNotification
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.life.rendered_message import Message
from dispatcher.deliver.courier import CourierLimits
from dispatcher.deliver.status_lookups import PATIENCE_S_MAX, LookUps
from tests.unit.stage import ScriptedVendor, Stage
from tests.virtual import until, virtual


class AskableVendor(ScriptedVendor):
    """A vendor that can be asked what it has.

    The answer lists what was sent if `has` is True, and there is no answer if `silent` is True.
    """

    def __init__(self, name: str, has: bool = True, **more: Any) -> None:
        super().__init__(name, **more)
        self.has, self.silent, self.carried = has, False, True
        self.asked: list[tuple[str, float]] = []

    async def look_up(self, message: Message, since_ms: int, timeout_s: float) -> Listing | None:
        now_s = asyncio.get_running_loop().time()
        self.asked.append((message.notification_id, now_s))
        await asyncio.sleep(0.05)
        if self.silent:
            return None
        wall_ms = Stage().clock.wall_ms()
        made_ms = [wall_ms - int((now_s - t) * 1000) for t in self.times_s]
        rows = [
            Sighting(f"{self.name}-{n}", sent.text, at_ms, self.carried)
            for n, (sent, at_ms) in enumerate(zip(self.sent, made_ms, strict=True))
            if self.has and sent.to == message.to
        ]
        return Listing(rows, wall_ms, False)


async def scene(vendor: AskableVendor, *texts: str) -> tuple[Stage, LookUps, list[str]]:
    """Start a vendor's look-ups with one held notification for each text, or with one text "Hi" if none is given.

    Return the stage, the look-ups and the ids.
    """
    stage = Stage()
    courier = await stage.courier(vendor, limits=CourierLimits(concurrency_min=64))
    ids = [await held(stage, vendor, text) for text in texts or ("Hi",)]
    await until(lambda: set(stage.states()) == {"held"})
    look_ups = LookUps(courier, vendor, MemoryStore(stage.cell), stage.clock, timeout_s=10.0, per_s=5.0)
    stage.start(look_ups.run())
    return stage, look_ups, ids


async def held(stage: Stage, vendor: AskableVendor, text: str) -> str:
    """Accept one more message to the same recipient whose outcome will be unknown under `hold`. Return its id."""
    vendor.outcomes.append(Outcome.unknown("timeout"))
    new = NewNotification("sms", "+4915112345678", ("a",), "a", content={"text": text})
    (nid,) = await stage.accept(on_unknown="hold", notifications=(new,))
    return nid


@virtual
async def test_what_the_vendor_has_is_settled_long_before_the_deadline() -> None:
    """A notification is held, and the vendor has its message. It is settled within three seconds and not sent again.

    The reason has the vendor's id of the message.
    """
    vendor = AskableVendor("a")
    stage, _, (nid,) = await scene(vendor)
    await until(lambda: stage.state(nid) == "settled", 3.0)
    record, note = stage.cell.found(nid)
    assert (note.reason, record.has_data, len(vendor.sent)) == ("look_up: a-0", False, 1)
    assert stage.counted("dispatcher_look_ups", "a", "found") == 1


@virtual
async def test_what_the_vendor_gave_up_is_a_dead_letter() -> None:
    """A held notification that the vendor has but could not deliver becomes a dead letter."""
    vendor = AskableVendor("a")
    vendor.carried = False
    stage, _, (nid,) = await scene(vendor)
    await until(lambda: stage.state(nid) == "dead", 3.0)
    assert stage.cell.found(nid)[1].reason == "undelivered"


@virtual
async def test_what_the_vendor_has_not_stays_held() -> None:
    """A held notification that the vendor does not have stays held.

    The vendor is asked again at growing intervals, and the notification is settled once it appears.
    """
    vendor = AskableVendor("a", has=False)
    stage, _, (nid,) = await scene(vendor)
    await asyncio.sleep(600)
    times = [t for _, t in vendor.asked]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert stage.state(nid) == "held"
    assert 6 <= len(times) <= 12
    assert gaps == sorted(gaps)
    vendor.has = True
    await until(lambda: stage.state(nid) == "settled", 400.0)
    assert len(vendor.sent) == 1


@virtual
async def test_nothing_is_asked_after_the_deadline() -> None:
    """In three hours the vendor is asked at most 30 times about a notification, because the questions end at the
    deadline.
    """
    vendor = AskableVendor("a", has=False)
    await scene(vendor)
    await asyncio.sleep(3 * 3600)
    assert 15 <= len(vendor.asked) <= 30


@virtual
async def test_twins_are_not_asked_about() -> None:
    """If two held notifications have the same text, recipient and time, the vendor is not asked about them,
    because an answer could mean either.
    """
    vendor = AskableVendor("a")
    stage, _, (one, other, third) = await scene(vendor, "Hi", "Hi", "Bye")
    await until(lambda: stage.state(third) == "settled", 10.0)
    await asyncio.sleep(60)
    assert (stage.state(one), stage.state(other)) == ("held", "held")
    assert {nid for nid, _ in vendor.asked} == {third}


@virtual
async def test_a_twin_that_comes_amid_the_question_is_one() -> None:
    """If a second notification with the same text is sent while the vendor is asked about the first, the answer
    could mean either, so both stay held.
    """
    vendor = AskableVendor("a", has=False)
    stage, _, (first,) = await scene(vendor, "Hi")
    ask = vendor.look_up

    async def ask_late(*args: Any) -> Listing | None:
        nonlocal second
        second = second or await held(stage, vendor, "Hi")
        await until(lambda: stage.state(second) == "held")
        rows = await ask(*args)
        assert rows is not None
        return Listing([Sighting("a-1", "Hi", stage.clock.wall_ms(), True)], rows.vendor_ms, False)

    second = ""
    vendor.look_up = ask_late  # type: ignore[method-assign]
    await until(lambda: stage.counted("dispatcher_look_ups", "a", "found") == 1, 10.0)
    await asyncio.sleep(30)
    assert (stage.state(first), stage.state(second)) == ("held", "held")


@virtual
async def test_an_identical_text_of_later_is_another_message() -> None:
    """Two notifications with the same text are sent 20 s apart. The second is looked up for itself, and is settled with
    its own message id of the vendor.
    """
    vendor = AskableVendor("a")
    stage, _, (first,) = await scene(vendor)
    await until(lambda: stage.state(first) == "settled", 3.0)
    await asyncio.sleep(20)
    again = await held(stage, vendor, "Hi")
    await until(lambda: stage.state(again) == "settled", 5.0)
    assert stage.cell.found(again)[1].reason == "look_up: a-1"


@virtual
async def test_many_are_asked_about_at_a_bounded_rate() -> None:
    """There are 50 held notifications. The vendor gets one look-up about each of them, and at most five look-ups a
    second.
    """
    vendor = AskableVendor("a")
    stage, _, ids = await scene(vendor, *(f"Hi {n}" for n in range(50)))
    await until(lambda: stage.states() == ["settled"] * 50, 30.0)
    times = sorted(t for _, t in vendor.asked)
    assert len(times) == len(ids)
    assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(times))


@virtual
async def test_a_vendor_that_does_not_answer_is_left_in_peace() -> None:
    """A vendor does not answer look-ups. The courier asks it at growing intervals, at most 14 times in 300 s.

    After the vendor's first answer, the courier asks about all held notifications.
    """
    vendor = AskableVendor("a")
    vendor.silent = True
    stage, _, _ = await scene(vendor, *(f"Hi {n}" for n in range(30)))
    await asyncio.sleep(300)
    assert 7 <= len(vendor.asked) <= 14
    assert stage.states() == ["held"] * 30
    vendor.silent = False
    await until(lambda: stage.states() == ["settled"] * 30, PATIENCE_S_MAX + 30.0)


@virtual
async def test_another_vendors_are_not_asked_about() -> None:
    """A vendor is not asked about a notification whose start mark names another vendor."""
    stage, _, _ = await scene(AskableVendor("a", has=False))
    other = AskableVendor("b")
    courier = await stage.courier(other)
    stage.start(LookUps(courier, other, MemoryStore(stage.cell), stage.clock, timeout_s=10.0, per_s=5.0).run())
    await asyncio.sleep(60)
    assert other.asked == []


@virtual
async def test_a_look_up_tells_the_breaker_nothing() -> None:
    """Look-ups change no count of the breaker.

    An open breaker does not keep found notifications from being settled.
    """
    vendor = AskableVendor("a")
    stage, look_ups, _ = await scene(vendor, *(f"Hi {n}" for n in range(12)))
    breaker = look_ups._courier.breaker
    breaker.tick(int(stage.clock.now_s() * 1e9))
    assert breaker.state is BreakerState.OPEN
    attempts = breaker.metrics(int(stage.clock.now_s() * 1e9)).attempts
    await until(lambda: stage.states() == ["settled"] * 12, 10.0)
    assert breaker.metrics(int(stage.clock.now_s() * 1e9)).attempts == attempts
    assert vendor.ids == list(dict.fromkeys(vendor.ids))
