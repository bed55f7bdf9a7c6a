"""Checks fallbacks: the e-mail is sent if, and only if, the SMS came to nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.core.life.notification import Follows, NewNotification
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.life.receipt import Told, word_for_fallback
from dispatcher.deliver.maintenance import DUE_PAGE, Caretaker, CaretakerPeriods
from tests.unit.stage import ScriptedVendor, Stage
from tests.virtual import until, virtual


class Play:
    """An SMS vendor, an e-mail vendor, their actors, and one SMS whose fallback is an e-mail."""

    def __init__(self, *outcomes: Outcome | Exception, duration_s: float = 0.02) -> None:
        self.stage = Stage()
        self.sms, self.mail = ScriptedVendor("a", outcomes, duration_s), ScriptedVendor("mail")

    async def begin(self, after_s: float | None = None, wait_for: str = "accepted", **changes: Any) -> str:
        """Accept the SMS with its fallback, start both vendors' actors, and return the id of the trigger."""
        stage, now_ms = self.stage, self.stage.clock.wall_ms()
        ends_ms = now_ms + 3_600_000
        begin_ms = None if after_s is None else now_ms + int(after_s * 1000)
        notifications = (
            NewNotification("sms", "+4915112345678", ("a",), "a", content={"text": "Hi"}),
            NewNotification(
                *("email", "ada@example.com", ("mail",), "mail"),
                content={"text": "Hi", "subject": "S"},
                send_at_ms=begin_ms or ends_ms + 1000,
                expires_ms=2 * ends_ms,
                follows=Follows(0, wait_for, begin_ms, 3_600_000),
            ),
        )
        (nid,) = await stage.accept(1, **{"notifications": notifications, "expires_ms": ends_ms, **changes})
        for vendor in (self.sms, self.mail):
            courier = await stage.courier(vendor)
            periods = CaretakerPeriods(take_s=0.2, audit_s=0.5, due_s=0.1, sweep_s=0.2)
            keeper = Caretaker(courier, courier._store, stage.clock, frozenset(("a", "mail")), periods=periods)
            stage.start(keeper.run())
        return nid[:-2]

    def states(self) -> tuple[str, ...]:
        return tuple(self.stage.states())


@virtual
async def test_a_success_ends_it() -> None:
    """If the SMS is accepted, the e-mail is skipped within two seconds and never sent."""
    play = Play()
    await play.begin(60)
    await until(lambda: play.states() == ("settled", "skipped"), 2.0)
    assert play.mail.sent == []
    assert play.stage.counted("dispatcher_fallbacks", "skipped") == 1
    (record,) = play.stage.cell.records.values()
    assert record.gone_ms is not None


@virtual
async def test_a_death_begins_it() -> None:
    """If the SMS becomes a dead letter, the e-mail is sent within two seconds."""
    play = Play(Outcome.rejected("bad_number"))
    await play.begin(3_000)
    await until(lambda: play.states() == ("dead", "settled"), 2.0)
    assert len(play.mail.sent) == 1
    assert play.stage.counted("dispatcher_fallbacks", "begun") == 1


@virtual
async def test_a_time_to_live_that_ends_begins_it() -> None:
    """If the SMS expires after 5 s while its vendor is down, the e-mail is sent within 20 s, because it has a time
    to live of its own.
    """
    play = Play()
    play.sms.then = Outcome.failed("http_503")
    await play.begin(None, expires_ms=play.stage.clock.wall_ms() + 5_000)
    await until(lambda: play.states() == ("dead", "settled"), 20.0)


@virtual
async def test_its_time_overtakes_a_first_that_waits() -> None:
    """If the SMS is still failing after `after_s`, the SMS is cancelled and never tried again, and the e-mail is
    sent once.
    """
    play = Play()
    play.sms.then = Outcome.failed("http_503")
    tid = await play.begin(10)
    await until(lambda: play.states() == ("cancelled", "settled"), 30.0)
    tried = len(play.sms.sent)
    assert tried > 0
    assert play.stage.cell.found(f"{tid}.0")[1].reason == "fallback"
    play.sms.then = None
    await asyncio.sleep(60.0)
    assert (len(play.sms.sent), len(play.mail.sent)) == (tried, 1)


@virtual
async def test_a_call_in_flight_is_waited_for() -> None:
    """If an SMS call is in flight at `after_s` and is then accepted, no e-mail is sent."""
    play = Play(duration_s=8.0)
    await play.begin(2)
    await until(lambda: play.states() == ("settled", "skipped"), 12.0)
    assert play.mail.sent == []


@virtual
@pytest.mark.parametrize(("word", "states"), [("delivered", "skipped"), ("undelivered", "settled"), (None, "settled")])
async def test_it_may_wait_for_delivery(word: str | None, states: str) -> None:
    """A fallback waits for the delivery of its first notification. The receipt `delivered` skips the fallback.

    With the receipt `undelivered`, the fallback begins. Without a receipt it begins after `after_s`.
    """
    play = Play()
    tid = await play.begin(60, "delivered")
    await until(lambda: play.states() == ("settled", "standby"), 2.0)
    await asyncio.sleep(5.0)
    assert play.states() == ("settled", "standby")
    began_s = play.stage.clock.now_s()
    if word is not None:
        assert await MemoryStore(play.stage.cell).note_receipt(f"{tid}.0", word)
    await until(lambda: play.states() == ("settled", states), 70.0)
    duration_s = play.stage.clock.now_s() - began_s
    assert duration_s < 2.0 if word is not None else 50.0 < duration_s < 60.0


@virtual
async def test_many_that_end_at_once_do_not_hold_up_what_is_due() -> None:
    """Many first notifications succeed while their fallbacks wait: five times as many as `DUE_PAGE`, and one more. All
    fallbacks are skipped within a second after that, although the store returns only `DUE_PAGE` due notifications at
    once.
    """
    play = Play()
    stage = play.stage
    await play.begin(60)
    notifications = next(record.trigger.notifications for record in stage.cell.records.values())
    ids = await stage.accept(5 * DUE_PAGE, notifications=notifications)
    await until(lambda: stage.states().count("settled") == len(ids) + 1, 60.0)
    await until(lambda: stage.states().count("skipped") == len(ids) + 1, 1.0)


def test_what_a_receipt_means_for_a_fallback() -> None:
    """Checks what each kind of receipt means for a fallback that waits for the delivery of the first message.

    A receipt that says "delivered" skips the fallback. A receipt that says that the vendor gave the message up begins
    the fallback. A receipt that says only that the vendor is still sending the message, or that nothing is known yet,
    changes nothing for the fallback.
    """
    words = [word_for_fallback(Told("n", "t", *told)) for told in ((True, True), (True, False), (False,), (None,))]
    assert words == ["delivered", None, "undelivered", None]
