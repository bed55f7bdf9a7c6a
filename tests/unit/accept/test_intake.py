"""The accept path: many requests share one round trip, and only what is stored is answered with success."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from dispatcher.core.life.notification import Lane, NewTrigger
from dispatcher.errors import CallerError, UnavailableError
from dispatcher.ports import STORED
from tests.unit.desk import Desk, body
from tests.unit.stage import plan_of
from tests.virtual import virtual


@virtual
async def test_what_is_answered_is_stored() -> None:
    """An accepted trigger is queued, and its answer names each notification and the mailbox where it is."""
    desk = Desk()
    accepted = await desk.post()
    assert accepted.notifications == ((f"{accepted.id}.0", "sms", "a"),)
    assert not accepted.replayed
    assert desk.stage.states() == ["queued"]
    assert desk.stage.counted("dispatcher_accepts", "accepted") == 1
    assert desk.stage.counted("dispatcher_accepted_notifications", "sms") == 1


@virtual
async def test_concurrent_requests_share_a_round_trip() -> None:
    """Requests that arrive during a round trip go together with the next round trip, at most 64 at once."""
    desk = Desk()
    first = desk.post(0)
    await asyncio.sleep(0.005)
    rest = [desk.post(n) for n in range(1, 101)]
    answers = await asyncio.gather(first, *rest)
    assert desk.store.trips == [1, 64, 36]
    assert len({answer.id for answer in answers}) == 101


@virtual
async def test_a_cancelled_client_does_not_stall_the_others() -> None:
    """Clients may disconnect before or during a round trip. The other requests of that round trip are answered."""
    desk = Desk()
    posts = [desk.post(n) for n in range(5)]
    await asyncio.sleep(0.005)
    waiting = [desk.post(n) for n in range(5, 10)]
    await asyncio.sleep(0.001)
    posts[0].cancel()
    waiting[0].cancel()
    answers = await asyncio.gather(*posts, *waiting, return_exceptions=True)
    assert sum(isinstance(answer, asyncio.CancelledError) for answer in answers) == 2
    assert desk.store.trips == [5, 4]
    assert len(desk.stage.states()) == 9


@virtual
async def test_a_slow_store_is_unavailable() -> None:
    """If the store does not answer within the accept deadline, the request ends as unavailable at the deadline.

    The next request works.
    """
    desk = Desk()
    desk.store.duration_s = 60.0
    began_s = desk.stage.clock.now_s()
    with pytest.raises(UnavailableError, match="too slow"):
        await desk.post()
    assert desk.stage.clock.now_s() - began_s == pytest.approx(1.0, abs=0.001)
    desk.store.duration_s = 0.01
    await asyncio.sleep(1.0)
    assert (await desk.post(1)).notifications
    assert desk.stage.counted("dispatcher_accepts", "unavailable") == 1


@virtual
async def test_a_store_that_is_away_is_unavailable_for_each() -> None:
    """Three requests share one round trip to a store that does not answer. Each of them raises UnavailableError, and
    nothing is stored.
    """
    desk = Desk()
    desk.store.away = True
    answers = await asyncio.gather(*(desk.post(n) for n in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [UnavailableError] * 3
    assert desk.stage.states() == []


@virtual
async def test_a_full_store_is_unavailable() -> None:
    """If the store says that it is full, the answer says so and asks the caller to come back after five seconds."""
    desk = Desk()
    desk.stage.cell.full = True
    with pytest.raises(UnavailableError, match="full") as caught:
        await desk.post()
    assert caught.value.retry_after_s == 5.0


@virtual
async def test_new_work_goes_to_the_first_usable_vendor() -> None:
    """The plan says that the first vendor's breaker is open. New work goes to the next vendor of the chain.

    If all breakers are open, new work goes to the first vendor's mailbox.
    """
    desk = Desk()
    desk.intake.plan = plan_of(a="open", b="closed")
    assert (await desk.post(1)).notifications[0][2] == "b"
    desk.intake.plan = plan_of(a="open", b="open")
    assert (await desk.post(2)).notifications[0][2] == "a"


@virtual
async def test_head_room_is_kept_per_vendor_and_for_all() -> None:
    """A full lane of a mailbox refuses only triggers that need that lane.

    A nearly full store refuses every trigger.
    """
    desk = Desk()
    desk.intake.headroom.full = frozenset({Lane("mail", "normal")})
    assert (await desk.post()).notifications
    mail = {"recipient": {"email": "ada@example.com"}}
    notifications = [{"channel": "email", "content": {"subject": "S", "text": "T"}}]
    with pytest.raises(UnavailableError, match=r"mailbox of mail \(email\) is full for priority normal"):
        await desk.post(**mail, notifications=notifications)
    assert (await desk.post(**mail, notifications=notifications, priority="high")).notifications
    desk.intake.headroom.memory_ratio = 0.8
    with pytest.raises(UnavailableError, match="nearly full"):
        await desk.post()


@virtual
async def test_countries_can_be_bounded() -> None:
    """A phone number of a country outside `sms_countries` is refused before anything is stored."""
    desk = Desk(limits={"sms_countries": ["AT"]})
    with pytest.raises(CallerError, match="is of DE"):
        await desk.post()
    assert desk.stage.states() == []


@virtual
async def test_stopping_answers_whoever_waits() -> None:
    """If intake's loop is cancelled during a round trip, every waiting request ends as unavailable, because its trigger
    may be stored. The loop ends.
    """
    desk = Desk()
    posts = [desk.post(n) for n in range(3)]
    await asyncio.sleep(0.005)
    desk.loop.cancel()
    answers = await asyncio.gather(*posts, return_exceptions=True)
    assert [type(answer) for answer in answers] == [UnavailableError] * 3
    assert desk.loop.cancelled()


@virtual
async def test_a_stop_amid_the_answer_is_not_swallowed() -> None:
    """Intake's loop also ends if it is cancelled in the same turn of the event loop in which the store answers."""
    desk = Desk()
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def gated(triggers: Sequence[NewTrigger]) -> list[str]:
        await gate
        desk.loop.cancel()
        return [STORED] * len(triggers)

    desk.store.accept = gated  # type: ignore[method-assign]
    post = desk.post()
    await asyncio.sleep(0.001)
    gate.set_result(None)
    await asyncio.wait({desk.loop, post}, timeout=5.0)
    assert desk.loop.cancelled()
    post.cancel()


HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("changes", "later_ms"),
    [
        pytest.param({}, HOUR_MS, id="until their end"),
        pytest.param({"priority": "high"}, 0, id="somebody waits for it"),
        pytest.param({"recipient": {"phone": "+4915112345000", "time_zone": "Etc/GMT-6"}}, 0, id="day, over there"),
        pytest.param({"event": "order.shipped"}, 0, id="another event"),
    ],
)
@virtual
async def test_nobody_is_woken(changes: dict[str, Any], later_ms: int) -> None:
    """It is night for the event's quiet hours. A trigger is then stored for their end, and its time to live counts from
    there.

    A trigger does not wait if it has high priority, is for another event, or goes to a recipient for whom it is day.
    """
    wall = datetime.fromtimestamp(Desk().stage.clock.wall_ms() / 1000, timezone.utc)
    quiet = {name: f"{wall + timedelta(hours=h):%H:%M}" for name, h in (("begin", -1), ("end", 1))}
    meant = {"notifications": [{"channel": "sms", "template": "t"}], "quiet_hours": quiet}
    desk = Desk(events={"checkout.completed": meant}, templates={"t": {"text": "Hi"}})
    accepted = await desk.post(**{"expires_in_s": 60, **changes})
    view = await desk.stage.views.trigger(accepted.id)
    assert view is not None
    assert (view.notifications[0].state == "delayed") == (later_ms > 0)
    waits_ms = view.expires_ms - 60_000 - view.accepted_ms
    assert waits_ms == pytest.approx(later_ms, abs=60_000)  # the hours have whole minutes


@virtual
async def test_an_unknown_time_zone_is_named() -> None:
    """An unknown time zone of a recipient is refused by its field, also if the event has no quiet hours."""
    with pytest.raises(CallerError, match=r"recipient\.time_zone"):
        await Desk().post(recipient={"phone": "+4915112345000", "time_zone": "Europe/Berlim"})


CAPS = {"accept_deadline_s": 1.0, "recipient_caps": [{"channel": "sms", "max": 2, "per_s": 60}]}


@virtual
async def test_a_capped_recipient_gets_the_rest_of_the_trigger() -> None:
    """If the recipient's SMS cap is reached, the SMS is suppressed, the answer says so, and the e-mail is sent.

    The metrics count suppressed and accepted notifications apart.
    """
    desk = Desk(limits=CAPS)
    listed = [{"channel": c, "content": {"text": "Hi", "subject": "Hi"}} for c in ("sms", "email")]
    both = {"recipient": {"phone": "+4915112345000", "email": "ada@example.com"}, "notifications": listed}
    answers = [await desk.post(key=f"order-{n}", **both) for n in range(3)]
    assert [answer.suppressed for answer in answers] == [set(), set(), {f"{answers[2].id}.0"}]
    assert sorted(desk.stage.states()) == [*["queued"] * 5, "suppressed"]
    counted = desk.stage.counted
    assert counted("dispatcher_suppressed", "sms", "recipient_cap") == 1
    assert (
        counted("dispatcher_accepted_notifications", "sms"),
        counted("dispatcher_accepted_notifications", "email"),
    ) == (2, 3)


@virtual
async def test_caps_belong_to_a_tenant() -> None:
    """One tenant's messages use up no other tenant's cap."""
    desk = Desk(limits=CAPS)
    for _ in range(3):
        await desk.post()
    other = await desk.intake.accept("other", body(), None)
    assert not other.suppressed


@virtual
async def test_times_are_the_stores() -> None:
    """This host's clock is a minute behind the store's. Accept and expiry times are still those of the store's clock.

    By the host's clock, a message that lives for 60 s would be expired when it is stored.
    """
    desk = Desk()
    store_ms = desk.stage.clock.wall_ms() + 60_000
    desk.intake.time.sync(store_ms)
    await asyncio.sleep(1.0)
    accepted = await desk.post(expires_in_s=60)
    record = desk.stage.cell.records[accepted.id]
    assert record.trigger.accepted_ms == store_ms + 1000
    assert record.expires_ms == store_ms + 61_000


@virtual
@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a" * 2000, "must fit in 10 segments of an SMS; it needs 14 .gsm."),
        ("Привет" * 120, "must fit in 10 segments of an SMS; it needs 11 .ucs2."),
        ("caf\x85", "must not contain control characters"),
        ("a\u202eb", "must not contain control characters"),
    ],
)
async def test_a_text_that_no_sms_can_have_is_refused(text: str, rule: str) -> None:
    """A text with too many segments or with control characters is refused for an SMS before anything is stored.

    The same text is allowed in an e-mail.
    """
    desk = Desk()
    listed = [{"channel": c, "content": {"text": t, "subject": "S"}} for c, t in (("email", text), ("sms", text))]
    both = {"phone": "+4915112345000", "email": "ada@example.com"}
    with pytest.raises(CallerError, match=rf"notifications\.1\.content\.text.*{rule}"):
        await desk.post(0, recipient=both, notifications=listed)
    assert desk.stage.states() == []
