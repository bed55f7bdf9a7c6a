"""Checks a vendor that fails for one country. Messages to that country go to another vendor until the country works
again.

Messages to all other countries stay with the vendor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest

from actors.vendor import VendorActor
from dispatcher.adapters.providers import twilio
from dispatcher.adapters.providers.http import Answer
from dispatcher.config.settings import parse_settings
from dispatcher.core.breaker.config import BreakerConfig, BreakerState
from dispatcher.core.life.decide import Move, Retry, Situation, decide_cut_off
from dispatcher.core.life.notification import NewNotification, Notification, Trail
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.life.rendered_message import Message
from dispatcher.core.life.retry import RetryPolicy
from dispatcher.deliver.permits import Gate
from dispatcher.errors import ConfigError
from dispatcher.supervise.supervisor import Supervisor
from tests.unit.stage import ScriptedVendor, Stage, plan_of, tend
from tests.unit.vendor_actors import CONFIG, SETTINGS, OneOfTwo
from tests.virtual import until, virtual

GERMANY, FRANCE = "+4915112345678", "+33612345678"
QUICK = BreakerConfig(open_wait_ms=2_000, open_wait_jitter=0.0)


class Abroad(ScriptedVendor):
    """A vendor that answers messages to France with `answer` while `broken` is true."""

    broken = True
    answer = Outcome.failed("http_503")

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        answer = await super().send(message, timeout_s)
        return self.answer if self.broken and message.to == FRANCE else answer


def to(country: str, chain: Sequence[str]) -> dict[str, tuple[NewNotification, ...]]:
    return {"notifications": (NewNotification("sms", country, tuple(chain), "a", content={"text": "Hi"}),)}


def note(chain: tuple[str, ...], **changes: Any) -> Notification:
    trail = Trail(changes.pop("tried", ()))
    fields = {"data": {}, "trail": trail, **changes}
    return Notification("0-t.0", "shop", "e", "sms", FRANCE, chain, "normal", 0, 10**9, "resend", **fields)


async def post(stage: Stage, rounds: int, chain: Sequence[str] = ("a", "b")) -> None:
    for _ in range(rounds):
        for country in (GERMANY, FRANCE):
            await stage.accept(1, **to(country, chain))
        await asyncio.sleep(0.05)


@virtual
async def test_one_country_fails_and_only_its_messages_go_elsewhere() -> None:
    """The first vendor fails ten times for one country. After that, messages to this country go to the next vendor, and
    the first vendor gets only probes for this country.

    The first vendor's own breaker stays closed. When the first vendor works for this country again, it gets the
    messages to this country again.
    """
    stage, a, b = Stage(), Abroad("a"), ScriptedVendor("b")
    first, second = await stage.courier(a, breaker=QUICK, per_country=True), await stage.courier(b)
    for courier in (first, second):
        courier.adopt_plan(plan_of(a="closed", b="closed"))
        stage.start(tend(stage, courier).run())
    await post(stage, 200)
    await until(lambda: stage.states() == ["settled"] * 400)
    assert {message.to for message in b.sent} == {FRANCE}
    assert sum(message.to == GERMANY for message in a.sent) == 200
    assert 10 <= sum(message.to == FRANCE for message in a.sent) <= 10 + 3 * QUICK.half_open_calls + 2
    assert first.breaker.state is BreakerState.CLOSED
    assert stage.counted("dispatcher_refusals", "a", "country") > 150
    assert set(first.gate.cut_off()) == {"FR"}
    a.broken = False
    await asyncio.sleep(20)
    await post(stage, 10)
    before = len(b.sent)
    await post(stage, 50)
    await until(lambda: stage.states() == ["settled"] * 520)
    assert len(b.sent) == before
    assert first.gate.cut_off() == {}


@pytest.mark.parametrize("per_country", [False, True])
@virtual
async def test_a_country_that_the_account_may_not_reach_is_evidence_against_it_alone(per_country: bool) -> None:
    """Twilio's 21408 says that the account may not send to a country.

    With breakers by country that country is cut off, and without them no breaker opens.
    """
    stage, a, b = Stage(), Abroad("a"), ScriptedVendor("b")
    a.answer = twilio.classify(Answer(400, {}, b'{"code": 21408}'))
    first, second = await stage.courier(a, breaker=QUICK, per_country=per_country), await stage.courier(b)
    for courier in (first, second):
        courier.adopt_plan(plan_of(a="closed", b="closed"))
        stage.start(tend(stage, courier).run())
    await post(stage, 30)
    for _ in range(30):
        await stage.accept(1, **to(FRANCE, ("a", "b")))
    await until(lambda: stage.states() == ["settled"] * 90)
    assert first.breaker.state is BreakerState.CLOSED
    assert set(first.gate.cut_off()) == ({"FR"} if per_country else set())


@virtual
async def test_with_nowhere_else_to_go_they_wait_and_use_up_nothing() -> None:
    """A country is cut off, and there is no other vendor. The messages to it wait, with a bounded number of retries.

    When the country works again, the messages are delivered.
    """
    stage, a = Stage(), Abroad("a")
    courier = await stage.courier(a, breaker=QUICK, per_country=True)
    courier.adopt_plan(plan_of(a="closed"))
    stage.start(tend(stage, courier).run())
    await post(stage, 30, ("a",))
    for _ in range(60):
        await stage.accept(1, **to(GERMANY, ("a",)))
        await asyncio.sleep(0.5)
    assert stage.counted("dispatcher_retries", "a") < 30 * 30
    a.broken = False
    for _ in range(60):
        await stage.accept(1, **to(GERMANY, ("a",)))
        await asyncio.sleep(1)
    assert set(stage.states()) == {"settled"}


@virtual
async def test_without_the_setting_the_vendor_opens_as_a_whole() -> None:
    """Without breakers by country, failures for one country open the vendor's breaker."""
    stage, a, b = Stage(), Abroad("a"), ScriptedVendor("b")
    first, second = await stage.courier(a, breaker=QUICK), await stage.courier(b)
    for courier in (first, second):
        courier.adopt_plan(plan_of(a="closed", b="closed"))
    await post(stage, 60)
    assert first.breaker.state is not BreakerState.CLOSED


class Replica(OneOfTwo):
    """One of two actors of vendor a, whose breakers are separate for each country."""

    def __init__(self, stage: Stage, vendor: ScriptedVendor, number: int) -> None:
        a = {"adapter": "twilio", "channel": "sms", "breaker": {"per": "country"}}
        settings = {**SETTINGS, "vendors": {**SETTINGS["vendors"], "a": a}}
        with mock.patch("actors.vendor.build", lambda *_: vendor):
            VendorActor.__init__(self, settings, "a", {}, {"replica": str(number)})
        self.stage = stage


async def states_while_france_fails(monkeypatch: pytest.MonkeyPatch, shielded: bool) -> set[str]:
    """Run two actors of vendor a. Each sends many messages to France, which fail, and one to Germany, which succeeds.

    Return the states that the plan gave vendor a. With `shielded`, the actors leave the failing country out of their
    reports, as the program does.
    """
    if not shielded:
        monkeypatch.setattr(Gate, "evidence", lambda _: None)
    stage, seen = Stage(), set()
    supervisor = Supervisor(stage.control, stage.clock, CONFIG)
    stage.start(supervisor.run())
    replicas = [Replica(stage, Abroad("a"), n) for n in range(2)]
    for actor in (*replicas, OneOfTwo(stage, ScriptedVendor("b"))):
        await actor.start()
    await until(lambda: supervisor.plan.vendors, 5.0)
    for n in range(20):
        for replica in replicas:
            gate = replica._courier.gate
            permit = gate.acquire("DE" if n == 0 else "FR")
            outcome = Outcome.accepted("id") if n == 0 else Outcome.failed("http_503")
            if permit is not None:
                gate.record(permit, outcome, 0.01, 1)
        await asyncio.sleep(0.25)
        seen.add(supervisor.plan.vendors["a"].state)
    return seen


@virtual
async def test_two_replicas_do_not_give_a_vendor_up_for_one_country(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures for one country at two actors leave the vendor closed in the plan, because the actors leave these
    failures out of the vendor's evidence.
    """
    assert await states_while_france_fails(monkeypatch, shielded=True) == {"closed"}


@virtual
async def test_without_evidence_kept_apart_they_would(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "open" in await states_while_france_fails(monkeypatch, shielded=False)


def test_cut_off_counts_as_tried_and_costs_no_attempt() -> None:
    n = note(("a", "b", "c"), tried=("c",), attempts=3)
    move = decide_cut_off(n, 4.0, Situation("a", lambda name: True, RetryPolicy(), 0, 0.5))
    assert move == Move("b", Trail(("c", "a")), None, 3)
    wait = decide_cut_off(n, 4.0, Situation("a", lambda name: False, RetryPolicy(), 0, 0.5))
    assert wait == Retry(6_000, Trail(("c", "a")), None, 3)


def test_nobody_left_begins_a_new_round_after_a_wait_that_is_bounded() -> None:
    n = note(("a", "b"), tried=("b",))
    assert decide_cut_off(n, 300.0, Situation("a", lambda name: True, RetryPolicy(), 0, 1.0)) == Retry(
        20_000, Trail(), None, 0
    )
    assert decide_cut_off(n, 0.0, Situation("a", lambda name: True, RetryPolicy(), 0, 0.0)) == Retry(
        1_000, Trail(), None, 0
    )


def test_only_sms_has_countries() -> None:
    """`per: country` is refused for a vendor of another channel than SMS, and an unknown value of `per` is refused
    too.
    """
    mail = {"adapter": "smtp", "channel": "email", "breaker": {"per": "country"}}
    with pytest.raises(
        ConfigError, match=r"vendors\.m\.breaker\.per: 'country' is not allowed: must be vendor for email"
    ):
        parse_settings({"vendors": {"m": mail}})
    with pytest.raises(ConfigError, match=r"vendors\.m\.breaker\.per: 'town' is not allowed"):
        parse_settings({"vendors": {"m": {**mail, "breaker": {"per": "town"}}}})
