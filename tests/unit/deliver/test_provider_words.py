"""Checks what each word of each provider does to a notification: only a word that the provider's list calls final ends
it.

Vendor `a` answers each message with one word of a provider, and the code for that provider reads the answer. Vendor `b`
accepts every message.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from dispatcher.adapters.providers import sendgrid, smtp_words, twilio, vonage
from dispatcher.adapters.providers.http import Answer
from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.life.notification import NewNotification
from dispatcher.core.life.outcome import Meaning, Outcome, OutcomeKind, Rule, Word, outcome_of
from dispatcher.core.life.rendered_message import Message
from dispatcher.core.life.retry import RetryPolicy
from dispatcher.deliver.attempt import Terms
from dispatcher.deliver.courier import Courier
from dispatcher.deliver.maintenance import Caretaker
from tests.unit.stage import ScriptedVendor, Stage, plan_of
from tests.virtual import until, virtual

UNLISTED = 100
RANDOM = random.Random(16)


@dataclass(frozen=True)
class Said:
    """One answer of a provider: its name, how to make its outcome, and the meaning that the provider's file lists
    for it.
    """

    name: str
    outcome: Callable[[], Outcome]
    means: Meaning = Meaning.UNLISTED


def of_twilio(code: int, status: int = 400) -> Outcome:
    body = {"code": code, "message": "something is wrong", "status": status}
    return twilio.classify(Answer(status, {}, json.dumps(body).encode()))


def of_vonage(status: str) -> Outcome:
    body = {"message-count": "1", "messages": [{"status": status, "error-text": "something is wrong"}]}
    return vonage.classify(Answer(200, {}, json.dumps(body).encode()))


def of_sendgrid(message: str, status: int = 400, field: str | None = "content") -> Outcome:
    body = {"errors": [{"message": message, "field": field, "help": None}]}
    return sendgrid.classify(Answer(status, {}, json.dumps(body).encode()))


def of_smtp(code: int, text: str, named: bool = False) -> Outcome:
    word = smtp_words.meaning_of(code, text, mailed=True, named=named)
    return outcome_of(f"smtp_{code}", word.means, word.wait_s)


def relay(name: str, code: int, text: str, means: Meaning, *, named: bool = False) -> Said:
    return Said(name, lambda: of_smtp(code, text, named), means)


def listed(name: str, words: dict[str, Word], say: Callable[[str], Outcome]) -> list[Said]:
    return [Said(f"{name} {code}", lambda code=code: say(code), word.means) for code, word in words.items()]  # type: ignore[misc]


LISTED = [
    *listed("twilio", twilio.WORDS, lambda code: of_twilio(int(code))),
    *listed("vonage", vonage.WORDS, of_vonage),
    *listed("smtp", smtp_words.ENHANCED, lambda code: of_smtp(550 if code[0] == "5" else 450, f"{code} no")),
    Said(
        "sendgrid recipient",
        lambda: of_sendgrid("Does not contain a valid address.", field="personalizations.0.to.0.email"),
        Meaning.FINAL,
    ),
    Said(
        "sendgrid sender",
        lambda: of_sendgrid("The from address does not match a verified Sender Identity.", 403, "from"),
        Meaning.ACCOUNT,
    ),
    Said("sendgrid credits", lambda: of_sendgrid("Maximum credits exceeded", 401), Meaning.ACCOUNT),
]

NAMED = [
    # These meanings are written out, so that the tests notice a word that moves to another list.
    *(Said(f"Twilio {n}", lambda n=n: of_twilio(n), Meaning.FINAL) for n in (21211, 21610, 21614, 21617)),  # type: ignore[misc]
    *(
        Said(f"Twilio {n}", lambda n=n: of_twilio(n), Meaning.ACCOUNT)
        for n in (20003, 20403, 21606, 21659, 21660, 21661, 63038)
    ),  # type: ignore[misc]
    *(Said(f"Twilio {n}", lambda n=n: of_twilio(n), Meaning.ACCOUNT) for n in (10001, 21704, 21705, 30002, 90010)),  # type: ignore[misc]
    *(Said(f"Twilio {n}", lambda n=n: of_twilio(n), Meaning.RATE) for n in (20429, 21611)),  # type: ignore[misc]
    *(Said(f"Twilio {n}", lambda n=n: of_twilio(n), Meaning.ROUTE) for n in (21612, 21657, 21703)),  # type: ignore[misc]
    Said("Twilio 21265", lambda: of_twilio(21265)),
    *(Said(f"Vonage {n}", lambda n=n: of_vonage(n), Meaning.ACCOUNT) for n in ("4", "8", "9", "23")),  # type: ignore[misc]
    *(Said(f"Vonage {n}", lambda n=n: of_vonage(n), Meaning.ROUTE) for n in ("6", "15")),  # type: ignore[misc]
    Said("Vonage 1", lambda: of_vonage("1"), Meaning.RATE),
    Said("Vonage 12", lambda: of_vonage("12"), Meaning.FINAL),
    Said("SendGrid's limits", lambda: of_sendgrid("You have exceeded your messaging limits"), Meaning.ACCOUNT),
]
REPORTED = [
    # Replies from public reports whose code misleads. The next vendor must deliver each of these messages.
    relay("Gmail's daily quota", 550, "5.4.5 Daily user sending quota exceeded.", Meaning.ACCOUNT),
    relay("SES's trial account", 554, "Message rejected: Email address is not verified.", Meaning.UNLISTED, named=True),
    relay("SES's daily quota", 454, "Throttling failure: Daily message quota exceeded", Meaning.ACCOUNT),
    relay("SES's rate", 454, "Throttling failure: Maximum sending rate exceeded.", Meaning.RATE),
    relay("SendGrid's credits by SMTP", 451, "Authentication failed: Maximum credits exceeded", Meaning.ACCOUNT),
    relay("HELO refused", 504, "5.5.2 <localhost>: Helo command rejected: need FQDN", Meaning.ACCOUNT),
    relay("sender not owned", 553, "5.7.1 <a@b.c>: Sender address rejected: not owned by user", Meaning.ACCOUNT),
    relay(
        "Exchange's sender",
        550,
        "5.7.60 SMTP; Client does not have permissions to send as this sender",
        Meaning.ACCOUNT,
        named=True,
    ),
    relay(
        "Gmail's busy inbox with a final code",
        550,
        "5.2.1 The user you are trying to contact is receiving mail at a rate that prevents",
        Meaning.DEFERRED,
    ),
    relay("postgrey", 450, "4.2.0 <ada@example.com>: Recipient address rejected: Greylisted", Meaning.DEFERRED),
    relay("a full mailbox", 452, "4.2.2 The email account that you tried to reach is over quota", Meaning.DEFERRED),
    relay("a full disk", 452, "4.3.1 Insufficient system storage", Meaning.VENDOR),
    relay("anvil", 450, "4.7.1 Error: too much mail from 192.0.2.1", Meaning.RATE),
    relay("relay denied", 554, "5.7.1 <x@y.z>: Relay access denied", Meaning.UNLISTED),
    relay("a plain 550", 550, "no such user", Meaning.UNLISTED),
    relay("an Office 365 directory", 550, "5.4.1 Recipient address rejected: Access denied", Meaning.UNLISTED),
    Said("Twilio's trial account", lambda: of_twilio(21608)),
    Said("Twilio's country", lambda: of_twilio(21408), Meaning.ROUTE),
    Said("Twilio's localhost call-back", lambda: of_twilio(21609), Meaning.ACCOUNT),
    Said("Twilio's own sender as recipient", lambda: of_twilio(21266)),
    Said("Vonage's demo account", lambda: of_vonage("29")),
    Said("Vonage's missing parameter", lambda: of_vonage("2")),
    Said("SendGrid's too large mail", lambda: of_sendgrid("request entity too large", 413)),
]


def unlisted() -> list[Said]:
    codes = [code for code in range(10_000, 100_000) if str(code) not in twilio.WORDS]
    numbers = [str(number) for number in range(16, 999) if str(number) not in vonage.WORDS]
    enhanced = [f"5.{a}.{b}" for a in range(8) for b in range(100) if f"5.{a}.{b}" not in smtp_words.ENHANCED]
    return [
        *(
            Said(f"twilio {code}", lambda code=code: of_twilio(code, RANDOM.choice((400, 404, 422))))  # type: ignore[misc]
            for code in RANDOM.sample(codes, UNLISTED)
        ),
        *(Said(f"vonage {n}", lambda n=n: of_vonage(n)) for n in RANDOM.sample(numbers, UNLISTED)),  # type: ignore[misc]
        *(
            Said(f"sendgrid {n}", lambda n=n: of_sendgrid(f"refused for reason {n}", RANDOM.choice((400, 413, 422))))  # type: ignore[misc]
            for n in range(UNLISTED)
        ),
        *(
            Said(f"smtp {e}", lambda e=e: of_smtp(RANDOM.choice((550, 552, 554)), f"{e} no", RANDOM.random() < 0.5))  # type: ignore[misc]
            for e in RANDOM.sample(enhanced, UNLISTED)
        ),
    ]


class Speaking(ScriptedVendor):
    """A vendor that answers a message to a recipient in `words` with the word given there, and accepts every other
    message.

    If `once` is False, each message to such a recipient gets this answer, otherwise only the first.
    """

    def __init__(self, name: str, words: dict[str, Said], once: bool = True) -> None:
        super().__init__(name)
        self.words, self.once = dict(words), once

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        said = self.words.pop(message.to, None) if self.once else self.words.get(message.to)
        self.outcomes = [] if said is None else [said.outcome()]
        self.sent.append(message)
        outcome = self.outcomes.pop() if self.outcomes else Outcome.accepted(f"{self.name}-{len(self.sent)}")
        await asyncio.sleep(self.duration_s)
        return outcome


def number(n: int) -> str:
    return f"+49151{n:07d}"


async def start(stage: Stage, *vendors: ScriptedVendor) -> list[Courier]:
    couriers = [await stage.courier(vendor) for vendor in vendors]
    for courier in couriers:
        courier.adopt_plan(plan_of(1, **{vendor.name: "closed" for vendor in vendors}))
        stage.start(Caretaker(courier, courier._store, stage.clock, frozenset("ab")).run())
    return couriers


async def post(stage: Stage, to: list[str], chain: tuple[str, ...] = ("a", "b"), **changes: object) -> list[str]:
    ids = []
    for address in to:
        note = NewNotification("sms", address, chain, chain[0], content={"text": "Hi"})
        ids += await stage.accept(1, notifications=(note,), **changes)
    return ids


@pytest.mark.parametrize("said", [*LISTED, *NAMED, *REPORTED], ids=lambda said: said.name)
@virtual
async def test_a_word_ends_a_message_only_if_it_is_final(said: Said) -> None:
    """Each word has the outcome that its listed meaning gives.

    A final word makes a dead letter, and after any other word the message is delivered.
    """
    assert said.outcome() == outcome_of(said.outcome().reason, said.means, said.outcome().retry_after_s)
    stage = Stage()
    a, b = Speaking("a", {number(1): said}), ScriptedVendor("b")
    await start(stage, a, b)
    (nid,) = await post(stage, [number(1)])
    await until(lambda: stage.state(nid) in ("settled", "dead"), 120.0)
    assert stage.state(nid) == ("dead" if said.means is Meaning.FINAL else "settled")
    if said.means not in (Meaning.FINAL, Meaning.RATE):
        assert len(b.sent) == 1, "it goes to the next vendor, and at once"


@virtual
async def test_a_refused_account_is_told_to_operators() -> None:
    """Each refusal of our account is counted by its reason, and one log event reports the reason."""
    stage = Stage()
    a, b = ScriptedVendor("a", [of_twilio(21659), of_twilio(21659)]), ScriptedVendor("b")
    with capture_logs() as logs:
        await start(stage, a, b)
        ids = await post(stage, [number(1), number(2)])
        await until(lambda: all(stage.state(nid) == "settled" for nid in ids))
    assert stage.counted("dispatcher_account_refusals", "a", "twilio_21659") == len(a.sent) >= 1
    told = [(line["vendor"], line["reason"]) for line in logs if line["event"] == "vendor_account_refused"]
    assert told == [("a", "twilio_21659")]


@virtual
async def test_an_operators_rule_decides_about_a_real_message() -> None:
    """An operator's rule can make an unlisted word final: the message becomes a dead letter, and the second vendor
    is not asked.
    """
    stage = Stage()
    a, b = ScriptedVendor("a", [of_twilio(30_999)]), ScriptedVendor("b")
    rules = (Rule(re.compile("twilio_30999: something is wrong"), Meaning.FINAL),)
    courier = await stage.courier(a, terms=Terms(RetryPolicy(), rules=rules))
    await stage.courier(b)
    courier.adopt_plan(plan_of(1, a="closed", b="closed"))
    (nid,) = await post(stage, [number(1)])
    await until(lambda: stage.state(nid) in ("settled", "dead"))
    assert (stage.state(nid), b.sent) == ("dead", [])


@virtual
async def test_a_hundred_unlisted_words_of_each_provider_lose_nothing() -> None:
    """If the first vendor answers messages with unlisted words, the second vendor delivers all of them, each after
    one call to the first. No breaker opens.
    """
    stage, said = Stage(), unlisted()
    assert len({one.name for one in said}) == 4 * UNLISTED
    a, b = Speaking("a", {number(n): one for n, one in enumerate(said)}), ScriptedVendor("b")
    couriers = await start(stage, a, b)
    for one in said:
        outcome = one.outcome()
        assert (outcome.kind, outcome.refuses_message) == (OutcomeKind.FAILED, True), one.name
    await post(stage, [number(n) for n in range(len(said))])
    await until(lambda: set(stage.states()) == {"settled"})
    assert (len(a.sent), len(b.sent)) == (400, 400)
    assert all(courier.breaker.state is BreakerState.CLOSED for courier in couriers)
    assert couriers[1].delivery.contradictions.counts(0) == {"a": 400}, "b tells that a was wrong"


@pytest.mark.parametrize("seed", range(3))
@virtual
async def test_a_thousand_bad_messages_cut_off_nobody(seed: int) -> None:
    """1,000 messages that both vendors refuse are shuffled among 500 ordinary messages.

    The ordinary messages are delivered, and no breaker opens.
    """
    stage, chance = Stage(), random.Random(seed)
    bad = {number(n): Said("bad", lambda: of_twilio(30_999)) for n in range(1000)}
    a, b = Speaking("a", bad, once=False), Speaking("b", bad, once=False)
    couriers = await start(stage, a, b)
    to = [*bad, *(number(n) for n in range(5000, 5500))]
    chance.shuffle(to)
    ids = []
    for at in range(0, len(to), 50):
        ids += await post(stage, to[at : at + 50])
        await asyncio.sleep(0.1)
    ordinary = [nid for nid, address in zip(ids, to, strict=True) if address not in bad]
    await until(lambda: all(stage.state(nid) == "settled" for nid in ordinary), 5.0)
    refused = [nid for nid, address in zip(ids, to, strict=True) if address in bad]
    await until(lambda: all(stage.state(nid) == "due" for nid in refused), 5.0)
    view = await stage.views.trigger(refused[0].rpartition(".")[0])
    assert view is not None
    assert view.notifications[0].reason == "refused_by_all"
    assert {attempt.vendor for attempt in view.notifications[0].attempts} == {"a", "b"}
    assert stage.counted("dispatcher_refused_by_all", "sms") == 1000
    for courier in couriers:
        assert courier.breaker.state is BreakerState.CLOSED
        assert courier.delivery.contradictions.counts(0) == {}


@virtual
async def test_a_vendor_that_refuses_everybody_is_cut_off() -> None:
    """A vendor that refuses every message to many recipients is cut off by its breaker.

    After that the vendor gets only probes.
    """
    stage = Stage()
    a, b = ScriptedVendor("a"), ScriptedVendor("b")
    a.then = of_twilio(30_999)
    courier, _ = couriers = await start(stage, a, b)
    for n in range(30):
        await post(stage, [number(n)])
        await asyncio.sleep(0.5)
    assert courier.breaker.state is BreakerState.OPEN
    for one in couriers:
        one.adopt_plan(plan_of(2, a="half_open", b="closed"))
    a.sent.clear()
    for n in range(30, 90):
        await post(stage, [number(n)])
        await asyncio.sleep(0.5)
    assert len(a.sent) <= 20, "probes only"
    await until(lambda: set(stage.states()) == {"settled"})


@virtual
async def test_a_greylisted_mail_arrives_whatever_the_budget() -> None:
    """If the only vendor defers its recipients for 300 s, the messages wait, the breaker stays closed, and all are
    delivered later.
    """
    stage = Stage()
    relay = ScriptedVendor("a")
    relay.then = Outcome.deferred("smtp_451")
    (courier,) = await start(stage, relay)
    ids = await post(stage, [number(n) for n in range(20)], ("a",))
    await asyncio.sleep(300)
    assert set(stage.states()) == {"due"}
    assert courier.breaker.state is BreakerState.CLOSED
    relay.then = None
    await until(lambda: all(stage.state(nid) == "settled" for nid in ids), 600.0)
    assert len(relay.sent) <= 20 * 5


@virtual
async def test_refused_by_all_ends_with_its_time_and_says_so() -> None:
    """A message that all vendors refuse is tried again until its time to live ends.

    Then the message is a dead letter whose history has each vendor's reason.
    """
    stage = Stage()
    a, b = ScriptedVendor("a"), ScriptedVendor("b")
    a.then, b.then = of_twilio(30_999), of_vonage("44")
    await start(stage, a, b)
    (nid,) = await post(stage, [number(1)], expires_ms=stage.clock.wall_ms() + 300_000)
    await until(lambda: stage.state(nid) == "dead", 400.0)
    note = stage.cell.found(nid)[1]
    assert note.reason == "refused_by_all"
    assert {(attempt.vendor, attempt.reason) for attempt in note.history} == {("a", "twilio_30999"), ("b", "vonage_44")}
    assert len(a.sent) >= 3
