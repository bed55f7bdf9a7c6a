"""Checks idempotency keys: where a key is given, and that a repeated key gets the first answer whatever has
changed since.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from unittest import mock

import pytest

from dispatcher.accept.intake import Headroom, trigger_id
from dispatcher.config.settings import parse_settings
from dispatcher.core.life.notification import Lane
from dispatcher.errors import CallerError, UnavailableError
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.source import TemplateSource
from tests.unit.desk import SETTINGS, Desk
from tests.virtual import virtual

CAPS = {"accept_deadline_s": 1.0, "recipient_caps": [{"channel": "sms", "max": 2, "per_s": 60}]}


@virtual
async def test_a_repeated_key_gives_the_first_answer() -> None:
    """The same tenant, key and body a second time give the same ids, marked as replayed, and only one trigger is
    stored.
    """
    desk = Desk()
    first, second = await desk.post(key="order-1"), await desk.post(key="order-1")
    assert (second.id, second.notifications, second.replayed) == (first.id, first.notifications, True)
    assert desk.stage.states() == ["queued"]


@virtual
async def test_a_key_with_another_body_is_a_conflict() -> None:
    """A used idempotency key comes with another body. It is refused with 409, which names the field `idempotency_key`.

    The second body is not stored.
    """
    desk = Desk()
    await desk.post(0, key="order-1")
    with pytest.raises(CallerError) as caught:
        await desk.post(1, key="order-1")
    assert (caught.value.field, caught.value.status) == ("idempotency_key", 409)
    assert len(desk.stage.states()) == 1
    assert desk.stage.counted("dispatcher_accepts", "refused") == 1


@pytest.mark.parametrize(
    ("header", "in_body", "expected"),
    [
        pytest.param("k1", None, "k1", id="header alone"),
        pytest.param(None, "k1", "k1", id="body alone"),
        pytest.param("k1", "k1", "k1", id="both agree"),
        pytest.param("k1", "k2", "idempotency_key", id="they differ"),
        pytest.param("", None, "Idempotency-Key", id="an empty header"),
        pytest.param("x" * 256, None, "Idempotency-Key", id="a header too long"),
        pytest.param("ä", None, "Idempotency-Key", id="not ASCII"),
    ],
)
@virtual
async def test_the_key_of_the_header_and_that_of_the_body(
    header: str | None, in_body: str | None, expected: str
) -> None:
    """A key in the header or in the body decides the trigger's id. Two different keys, or an invalid key, are refused,
    and the error names the field.
    """
    desk = Desk()
    changes = {} if in_body is None else {"idempotency_key": in_body}
    if expected == "k1":
        assert (await desk.post(key=header, **changes)).id == trigger_id("shop", "k1")
    else:
        with pytest.raises(CallerError) as caught:
            await desk.post(key=header, **changes)
        assert caught.value.field == expected


def test_ids_are_of_the_tenant_and_its_key() -> None:
    """The same tenant and key always give the same trigger id, and another tenant's key gives another id.

    Without a key every id is new.
    """
    assert trigger_id("shop", "k") == trigger_id("shop", "k")
    assert trigger_id("shop", "k") != trigger_id("pos", "k")
    assert trigger_id("shop", None) != trigger_id("shop", None)
    assert len(trigger_id("shop", None)) == len("0-") + 26


@virtual
async def test_a_repeat_tells_again_what_was_suppressed() -> None:
    """A repeat of a suppressed trigger is answered as suppressed again, even if the cap has room by now.

    The metric counts the suppression once.
    """
    desk = Desk(limits=CAPS)
    first = [await desk.post(key=f"order-{n}") for n in range(3)][2]
    await asyncio.sleep(61)
    again = await desk.post(key="order-2")
    assert (again.replayed, again.suppressed) == (True, first.suppressed)
    assert first.suppressed == {f"{first.id}.0"}
    assert desk.stage.counted("dispatcher_suppressed", "sms", "recipient_cap") == 1
    assert not (await desk.post(key="order-3")).suppressed


@virtual
async def test_the_first_answer_is_given_again_after_its_time_has_passed() -> None:
    """A repeated key gets the first answer even after its `send_at` has passed.

    A new key with a `send_at` that has passed is refused.
    """
    desk = Desk()
    at = instant(desk, 2.0)
    first = await desk.post(0, "k", send_at=at)
    await asyncio.sleep(3_600.0)
    again = await desk.post(0, "k", send_at=at)
    assert (again.id, again.notifications, again.replayed) == (first.id, first.notifications, True)
    assert desk.stage.counted("dispatcher_accepts", "replayed") == 1
    with pytest.raises(CallerError, match="used with another body") as caught:
        await desk.post(1, "k", send_at=at)
    assert caught.value.status == 409
    with pytest.raises(CallerError, match="must not be more than 60 s in the past"):
        await desk.post(0, "other", send_at=at)


@virtual
async def test_a_repeated_key_is_no_surer_than_its_first_try() -> None:
    """A trigger is posted again with its key, after the first try may have ended as "maybe stored". Too few replicas
    have the stored trigger on disk.

    The repeat ends as unavailable, because its answer must be as durable as that of a first accept. Once enough
    replicas have the trigger, a repeat is answered.
    """
    desk = Desk()
    await desk.post(0, "k")
    desk.intake.headroom = Headroom(memory_ratio=1.0)
    late = mock.AsyncMock(side_effect=UnavailableError("0 of 1 replicas have it on disk"))
    with mock.patch.object(desk.intake._store, "synced", late), pytest.raises(UnavailableError, match="0 of 1"):
        await desk.post(0, "k")
    assert (await desk.post(0, "k")).replayed


@virtual
async def test_the_first_answer_is_given_again_while_there_is_no_room() -> None:
    """While a mailbox or the store is full, a repeat gets the first answer, and a new trigger is refused."""
    desk = Desk()
    first = await desk.post(0, "k")
    for headroom in (Headroom(full=frozenset({Lane("a", "normal")})), Headroom(memory_ratio=1.0)):
        desk.intake.headroom = headroom
        assert (await desk.post(0, "k")).id == first.id
        with pytest.raises(UnavailableError):
            await desk.post(0, "other")


@virtual
async def test_the_first_answer_is_given_again_under_another_configuration() -> None:
    """A repeat gets the first answer, even if its event, template or country is no longer in the configuration."""
    desk = Desk(events={"e": {"notifications": [{"channel": "sms", "template": "t"}]}}, templates={"t": {"text": "Hi"}})
    desk.intake._templates = TemplateCache(desk.stage.template_store)
    await desk.intake._templates.put(TemplateSource("t", "Hi"))
    changes = {"event": "e", "notifications": None}
    first = await desk.post(0, "k", **changes)
    desk.intake._settings = parse_settings({**SETTINGS, "limits": {"sms_countries": ["FR"]}})
    again = await desk.post(0, "k", **changes)
    assert (again.id, again.replayed) == (first.id, True)
    with pytest.raises(CallerError, match="event"):
        await desk.post(0, "other", **changes)


@virtual
async def test_a_repeat_that_cannot_be_looked_up_is_no_refusal() -> None:
    """If the store is away, nobody can tell whether a request is a repeat.

    The request ends as unavailable and is not refused with 422.
    """
    desk = Desk()
    at = instant(desk, 2.0)
    await desk.post(0, "k", send_at=at)
    await asyncio.sleep(3_600.0)

    async def away(_: str) -> None:
        raise UnavailableError("away")

    desk.stage.views.trigger = away
    with pytest.raises(UnavailableError):
        await desk.post(0, "k", send_at=at)


def instant(desk: Desk, ahead_s: float) -> str:
    at = datetime.fromtimestamp(desk.stage.clock.wall_ms() / 1000, timezone.utc) + timedelta(seconds=ahead_s)
    return at.isoformat()
