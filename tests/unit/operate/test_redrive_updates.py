"""Checks a redrive with today's text and route: those that the dead letter would have if it were accepted today."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dispatcher.core.life.dead_letter import DeadLetterFilter
from dispatcher.core.life.notification import Notification, TemplatePin
from dispatcher.core.life.redrive import Refused
from dispatcher.operate.dead_letters import DeadLetters
from dispatcher.operate.redrive_updates import Changed, RedriveUpdates, Wanted
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.source import TemplateSource
from tests.unit.desk import SETTINGS, Desk
from tests.unit.stage import plan_of
from tests.virtual import virtual

BOTH = Wanted(template=True, route=True)


def pin(version: int, stored: str, text: str) -> TemplatePin:
    return TemplatePin(stored, version, TemplateSource(stored, text, "Paid").digest)


THANKS = pin(2, "paid", "Thank you: {{ total }}")


class World:
    """An intake where a notification with the template `paid` was accepted and then became a dead letter.

    `later` are the changes of the configuration with which the letter is redriven on a later day.
    """

    def __init__(self, **later: Any) -> None:
        self.desk, self.later = Desk(), later

    async def letter(self, data: dict[str, Any] | None = None, channel: str = "sms") -> Notification:
        desk = self.desk
        await desk.intake._templates.put(TemplateSource("paid", "Paid: {{ total }}", "Paid"))
        people = {"phone": "+4915112345678", "email": "ada@example.com"}
        wanted = [{"channel": channel, "template": "paid"}]
        accepted = await desk.post(recipient=people, notifications=wanted, data=data or {"total": "4.90"})
        self.nid = f"{accepted.id}.0"
        await desk.store.withdraw(self.nid, "dead", "late")
        (found,) = await desk.stage.views.accepted_of([self.nid])
        assert found is not None
        return found

    def updates(self) -> RedriveUpdates:
        from dispatcher.config.settings import parse_settings

        return RedriveUpdates(parse_settings({**SETTINGS, **self.later}), self.desk.intake._templates)


NEW_ROUTE = {"routes": [{"channel": "sms", "chain": ["b"]}, {"channel": "email", "chain": ["mail"]}]}


@pytest.mark.parametrize(
    ("wanted", "changed"),
    [
        (Wanted(), Changed()),
        (Wanted(route=True), Changed(("b",))),
        (Wanted(template=True), Changed(None, THANKS)),
        (BOTH, Changed(("b",), THANKS)),
    ],
)
@virtual
async def test_a_letter_takes_what_is_asked_for(wanted: Wanted, changed: Changed) -> None:
    """Only today's template, only today's route, or both are used, as asked.

    Everything else stays as it was accepted.
    """
    world = World(**NEW_ROUTE)
    letter = await world.letter()
    await world.desk.intake._templates.put(TemplateSource("paid", "Thank you: {{ total }}", "Paid"))
    assert await world.updates().of(letter, wanted) == changed


@pytest.mark.parametrize(
    ("text", "later", "why"),
    [
        ("Hi {{ name }}", {}, "template paid version 2, text: missing variable name"),
        ("{% if false %}Hi{% endif %}", {}, "text: must say something"),
        ("Hi \u202e{{ total }}", {}, "bidirectional overrides"),
        ("a" * 2000, {}, "The limit is vendors.a.segments_max"),
        ("Hi", {"limits": {"sms_countries": ["FR"]}}, "must be of a country in limits.sms_countries, and is of DE"),
        ("Hi", {"routes": [{"channel": "email", "chain": ["mail"]}]}, "no route carries sms"),
    ],
)
@virtual
async def test_what_could_not_be_accepted_today_stays_dead(text: str, later: dict[str, Any], why: str) -> None:
    """A letter that could not be accepted today is refused with the reason, because sending it again would only fail
    again.
    """
    world = World(**later)
    letter = await world.letter()
    await world.desk.intake._templates.put(TemplateSource("paid", text, "Paid"))
    found = await world.updates().of(letter, BOTH)
    assert isinstance(found, Refused) and why in found.reason


@virtual
async def test_a_vendor_that_cannot_carry_todays_text_is_left_out() -> None:
    """If today's text has three segments, the vendor with a limit of two is left out, as at accept."""
    vendors = {**SETTINGS["vendors"], "a": {"adapter": "twilio", "channel": "sms", "segments_max": 2}}
    world = World(vendors=vendors)
    letter = await world.letter()
    await world.desk.intake._templates.put(TemplateSource("paid", "a" * 400, "Paid"))
    assert await world.updates().of(letter, BOTH) == Changed(("b",), pin(2, "paid", "a" * 400))


@virtual
async def test_a_mail_has_no_limit_of_segments() -> None:
    """A mail of 4,000 characters is redriven, because the limit of segments is only for SMS."""
    world = World(routes=[{"channel": "email", "chain": ["mail"]}])
    letter = await world.letter(channel="email")
    await world.desk.intake._templates.put(TemplateSource("paid", "a" * 4000, "Paid"))
    assert await world.updates().of(letter, BOTH) == Changed(("mail",), pin(2, "paid", "a" * 4000))


@virtual
async def test_todays_template_is_the_tenants_own_if_there_is_one_now() -> None:
    """A letter accepted with the common template gets the tenant's own template, if there is one now.

    When the tenant's template is deleted, the common one is used again.
    """
    world = World()
    letter = await world.letter()
    templates, today = world.desk.intake._templates, world.updates()
    await templates.put(TemplateSource("shop/paid", "Own: {{ total }}", "Paid"))
    assert await today.of(letter, Wanted(template=True)) == Changed(None, pin(1, "shop/paid", "Own: {{ total }}"))
    own = replace(letter, template="shop/paid", template_version=1, template_digest=None)
    assert await today.of(own, Wanted(template=True)) == Changed()
    await templates.delete("shop/paid")
    assert await today.of(own, Wanted(template=True)) == Changed(None, pin(1, "paid", "Paid: {{ total }}"))


@virtual
async def test_an_accepted_text_that_the_store_lost_is_not_replaced_unasked() -> None:
    """If the store lost the accepted text and its version number now has another text, the redrive is refused.

    The redrive succeeds only if it asks for today's template.
    """
    world = World()
    letter = await world.letter()
    world.desk.stage.template_store._kept.clear()
    world.desk.intake._templates.forget()
    await world.desk.intake._templates.put(TemplateSource("paid", "Thank you: {{ total }}", "Paid"))
    found = await world.updates().of(letter, Wanted(route=True))
    assert isinstance(found, Refused) and "another text than the accepted one" in found.reason
    assert await world.updates().of(letter, Wanted(template=True)) == Changed(
        None, pin(1, "paid", "Thank you: {{ total }}")
    )


@virtual
async def test_a_template_that_is_gone_is_named() -> None:
    """A redrive wants today's template, but the template is no longer stored. The letter is refused, and the reason
    names the template.
    """
    world = World()
    letter = await world.letter()
    world.desk.intake._templates = TemplateCache(world.desk.stage.template_store)
    found = await world.updates().of(letter, Wanted(template=True))
    assert found == Refused("the template paid is not stored")
    assert await world.updates().of(None, BOTH) == Refused("its record cannot be read")


@virtual
async def test_a_backlog_goes_to_a_vendor_that_was_added_since() -> None:
    """Both vendors of the accepted chain are down, so a plain redrive is refused.

    With today's route the letter goes to the new vendor.
    """
    vendors = {**SETTINGS["vendors"], "c": {"adapter": "vonage", "channel": "sms"}}
    world = World(vendors=vendors, routes=[{"channel": "sms", "chain": ["c", "a"]}])
    await world.letter()
    plan, views = plan_of(a="open", b="open", c="closed"), world.desk.stage.views
    operations = DeadLetters(
        *(views, vendors.__contains__, lambda: plan),
        per_s=100.0,
        slow_per_s=5.0,
        wall_ms=world.desk.stage.clock.wall_ms,
        updates=world.updates(),
    )
    accepted = await operations.redrive(DeadLetterFilter(), None, dry_run=False)
    assert (accepted.count, list(accepted.refused)) == (0, ["a is open, b is open"])
    counted = await operations.redrive(DeadLetterFilter(), None, dry_run=True, today=Wanted(route=True))
    assert (counted.count, world.desk.stage.states()) == (1, ["dead"])
    today = await operations.redrive(DeadLetterFilter(), None, dry_run=False, today=Wanted(route=True))
    (found,) = await views.accepted_of([world.nid])
    assert (today.count, world.desk.stage.states(), found and found.chain) == (1, ["queued"], ("c", "a"))
