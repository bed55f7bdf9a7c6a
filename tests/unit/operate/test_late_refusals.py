"""A vendor accepts a message and later refuses it by a receipt.

Then the next vendor gets it, and operators are told.
"""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from structlog.testing import capture_logs

from dispatcher.adapters.memory.store import MemoryStore
from dispatcher.adapters.providers.receipts import read_receipts
from dispatcher.core.life.notification import CallMark, NewNotification
from dispatcher.core.life.outcome import Meaning, Outcome, Rule
from dispatcher.core.life.receipt import FIRST_CALL, ReceiptLinks
from dispatcher.core.life.retry import RetryPolicy
from dispatcher.deliver.attempt import Terms
from dispatcher.operate.late_refusals import LateRefusals
from dispatcher.operate.receipts import Receipts
from tests.unit.deliver.test_fallbacks import Play
from tests.unit.stage import ScriptedVendor, Stage, plan_of, tend
from tests.virtual import until, virtual

LINKS = ReceiptLinks("https://shop.example", "secret")
TERMS = Terms(RetryPolicy(), links=LINKS)


class Shop:
    """Two vendors with their couriers, and the intake side that receives their receipts."""

    def __init__(self, provider: str = "twilio", rules: tuple[Rule, ...] = ()) -> None:
        self.stage, self.provider = Stage(), provider
        self.a, self.b = ScriptedVendor("a"), ScriptedVendor("b")
        self.plan = plan_of(1, a="closed", b="closed")
        stage, store = self.stage, MemoryStore(self.stage.cell)
        self.late = LateRefusals(
            *(store, stage.metrics, stage.clock, lambda: self.plan),
            policy=RetryPolicy(),
            rules={"a": rules},
            now_ms=stage.clock.wall_ms,
        )
        readers = dict.fromkeys(("a", "b"), partial(read_receipts, provider))
        self.receipts = Receipts(LINKS, store, stage.views, stage.metrics, readers=readers, late=self.late)

    async def open(self, chain: tuple[str, ...] = ("a", "b"), **changes: Any) -> str:
        """Start both couriers and accept one message for the vendor `a`. Return the message's id."""
        for vendor in (self.a, self.b):
            courier = await self.stage.courier(vendor, terms=TERMS)
            courier.adopt_plan(self.plan)
            self.stage.start(tend(self.stage, courier).run())
        note = NewNotification("sms", "+15005550006", chain, "a", content={"text": "Hi"})
        (nid,) = await self.stage.accept(1, notifications=(note,), **changes)
        return nid

    async def say(self, nid: str, vendor: str = "a", mark: CallMark = FIRST_CALL, **fields: str) -> dict[str, int]:
        """Post a receipt about a message to the receipt route, as the provider does. `fields` are the fields of the
        receipt, and `mark` tells the call that it is about.

        Return how many receipts had each result.
        """
        link = LINKS.link(vendor, nid, mark)
        if self.provider == "sendgrid":
            body = json.dumps([{"nid": nid, "ntoken": link.token, "ncall": link.call, **fields}]).encode()
            return await self.receipts.call_back(vendor, {}, body)
        query = dict(part.split("=", 1) for part in urlsplit(link.url).query.split("&"))
        return await self.receipts.call_back(vendor, query, urlencode(fields).encode())

    def message_id(self, nid: str) -> str:
        return str(self.stage.cell.found(nid)[1].history[-1].vendor_message_id)


CASES = [
    ("twilio", {"MessageStatus": "undelivered", "ErrorCode": "30034"}, "a US US"),
    ("twilio", {"MessageStatus": "undelivered", "ErrorCode": "30032"}, "a US US"),
    ("twilio", {"MessageStatus": "failed", "ErrorCode": "30002"}, "a account"),
    ("twilio", {"MessageStatus": "undelivered", "ErrorCode": "30037"}, "a account"),
    ("twilio", {"MessageStatus": "failed", "ErrorCode": "63038"}, "a account"),
    ("twilio", {"MessageStatus": "undelivered", "ErrorCode": "30007"}, "again"),
    ("twilio", {"MessageStatus": "undelivered", "ErrorCode": "30003"}, "again"),
    ("twilio", {"MessageStatus": "undelivered", "ErrorCode": "30999"}, "again"),
    ("twilio", {"MessageStatus": "failed"}, "again"),
    ("twilio", {"SmsStatus": "failed", "ErrorCode": "30001"}, "again"),
    ("twilio", {"MessageStatus": "undelivered", "ErrorCode": "21610"}, ""),
    ("twilio", {"MessageStatus": "undelivered", "ErrorCode": "30005"}, ""),
    ("twilio", {"MessageStatus": "undelivered", "ErrorCode": "30041"}, "a US US"),
    ("twilio", {"MessageStatus": "undelivered", "ErrorCode": "30022"}, "again"),
    ("twilio", {"MessageStatus": "undelivered", "ErrorCode": "30008"}, "again"),
    ("twilio", {"MessageStatus": "undelivered"}, "again"),
    ("twilio", {"MessageStatus": "failed", "ErrorCode": "30410"}, ""),
    ("twilio", {"MessageStatus": "canceled"}, ""),
    ("twilio", {"MessageStatus": "delivered", "ErrorCode": "30007"}, ""),
    ("vonage", {"status": "rejected", "err-code": "6"}, "again"),
    ("vonage", {"status": "failed", "err-code": "11"}, "a US US"),
    ("vonage", {"status": "rejected"}, "again"),
    ("vonage", {"status": "failed", "err-code": "3"}, ""),
    ("vonage", {"status": "failed", "err-code": "1"}, "again"),
    ("vonage", {"status": "failed", "err-code": "99"}, "again"),
    ("vonage", {"status": "failed", "err-code": "13"}, "again"),
    ("vonage", {"status": "failed"}, "again"),
    ("vonage", {"status": "failed", "err-code": "0"}, ""),
    ("vonage", {"status": "expired", "err-code": "2"}, ""),
    ("sendgrid", {"event": "dropped", "reason": "Recipient List over Package Quota"}, "a account"),
    ("sendgrid", {"event": "dropped", "reason": "Bounced Address"}, "again"),
    ("sendgrid", {"event": "dropped", "reason": "Unsubscribed Address"}, ""),
    ("sendgrid", {"event": "bounce", "type": "blocked", "reason": "550 5.7.1 blocked using Spamhaus"}, "again"),
    ("sendgrid", {"event": "bounce", "type": "bounce", "status": "5.1.1", "reason": "550 5.1.1 no such user"}, ""),
    ("sendgrid", {"event": "bounce", "status": "5.1.1", "reason": "unknown user"}, ""),
    ("sendgrid", {"event": "bounce", "type": "blocked", "reason": "550 5.1.1 unknown or illegal alias"}, "again"),
    ("sendgrid", {"event": "blocked", "reason": "550 5.1.1 unknown or illegal alias"}, "again"),
    ("sendgrid", {"event": "bounce", "status": "5.0.0", "reason": "Client host rejected: Access denied"}, "again"),
]


@pytest.mark.parametrize(("provider", "fields", "becomes"), CASES, ids=lambda value: str(value)[:60])
@virtual
async def test_what_a_receipt_refuses_goes_on_unless_the_word_is_final(
    provider: str, fields: dict[str, str], becomes: str
) -> None:
    """A vendor accepts a message and then refuses it by a receipt. The message is sent to the second vendor at once.

    It is not sent again if the receipt's word is final or proves nothing. A word about our account or a country is also
    kept as evidence and logged for operators.
    """
    shop = Shop(provider)
    with capture_logs() as logs:
        nid = await shop.open()
        await until(lambda: shop.stage.state(nid) == "settled")
        name = {"twilio": "MessageSid", "vonage": "messageId", "sendgrid": "sg_message_id"}[provider]
        ours = shop.message_id(nid) + (".filter0176" if provider == "sendgrid" else "")
        results = [await shop.say(nid, **{name: ours, **fields}) for _ in range(2)]
        assert (results[0] == {"reopened": 1}) == bool(becomes)
        assert "reopened" not in results[1], "a receipt that is repeated changes nothing"
        await until(lambda: shop.stage.state(nid) == "settled")
        await shop.say(nid, **{name: ours, **fields})
    assert [len(vendor.sent) for vendor in (shop.a, shop.b)] == [1, 1 if becomes else 0]
    told = [
        " ".join(filter(None, (str(line["vendor"]), line.get("country", ""), line.get("country", "account"))))
        for line in logs
        if line["event"] in ("vendor_account_refused", "vendor_country_refused")
    ]
    assert told == ([becomes] if becomes.startswith("a ") else [])
    evidence = {"a account": {"a": {"": 1}}, "a US US": {"a": {"US": 1}}}
    assert shop.late.evidence() == evidence.get(becomes, {})


@virtual
async def test_a_receipt_that_is_quicker_than_the_answer_is_kept() -> None:
    """A refusing receipt that arrives before the courier has stored the vendor's acceptance still reopens the
    message.
    """
    shop = Shop()
    shop.a.duration_s = 1.0
    nid = await shop.open()
    await until(lambda: len(shop.a.sent) == 1)
    said = shop.stage.start(shop.say(nid, MessageSid="a-1", MessageStatus="failed", ErrorCode="30034"))
    await until(lambda: shop.stage.state(nid) == "settled" and len(shop.b.sent) == 1)
    assert said.result() == {"reopened": 1}


@virtual
async def test_a_receipt_that_is_quicker_is_kept_whoever_sends() -> None:
    """The vendor `a` is out, and `b` drains its mailbox. A refusal by `b` that comes before its answer is kept too."""
    shop = Shop()
    shop.plan = plan_of(1, a="open", b="closed")
    shop.b.duration_s = 1.0
    nid = await shop.open()
    await until(lambda: len(shop.b.sent) == 1)
    said = shop.stage.start(shop.say(nid, "b", MessageSid="b-1", MessageStatus="failed", ErrorCode="30034"))
    await until(said.done)
    assert said.result() == {"reopened": 1} and shop.a.sent == []


@pytest.mark.parametrize("policy", ["resend", "hold"])
@virtual
async def test_what_a_first_word_settles_is_refused_by_a_second(policy: str) -> None:
    """The answer to a call is lost. SendGrid says `processed`, and later `bounce`. The second vendor sends the mail."""
    shop = Shop("sendgrid")
    shop.a.outcomes, shop.b.duration_s = [Outcome.unknown("timeout")], 3600.0
    nid = await shop.open(("a",) if policy == "resend" else ("a", "b"), on_unknown=policy)
    await until(lambda: shop.stage.state(nid) in ("due", "held"))
    assert await shop.say(nid, event="processed", sg_message_id="m-1.x") == {"settled": 1}
    bounce = {"event": "bounce", "type": "blocked", "reason": "550 5.7.1 blocked using Spamhaus"}
    assert await shop.say(nid, sg_message_id="m-1.x", **bounce) == {"reopened": 1}
    assert shop.stage.state(nid) != "settled"


@virtual
async def test_a_first_word_that_comes_again_after_a_refusal_settles_nothing() -> None:
    """SendGrid refuses a mail by a receipt, so it waits for its next call. A batch from before that comes again, and
    says `processed`. The mail is sent all the same.
    """
    shop = Shop("sendgrid")
    nid = await shop.open(("a",))
    await until(lambda: shop.stage.state(nid) == "settled")
    ours = shop.message_id(nid) + ".filter0176"
    bounce = {"event": "bounce", "type": "blocked", "reason": "550 5.7.1 blocked using Spamhaus"}
    assert await shop.say(nid, sg_message_id=ours, **bounce) == {"reopened": 1}
    assert await shop.say(nid, event="processed", sg_message_id=ours) == {"taken": 1}
    assert shop.stage.state(nid) == "due"
    await until(lambda: len(shop.a.sent) == 2, 600.0)


@virtual
async def test_a_refusal_of_an_earlier_call_does_not_reopen_what_is_held() -> None:
    """Under `hold`, a call was refused by a receipt. The second call may have delivered the message, so it is held. The
    refusal of the first call comes again, with another id, as for the second part of a long SMS. Nothing is sent.
    """
    shop = Shop("vonage")
    shop.a.outcomes = [Outcome.accepted("v-1"), Outcome.unknown("timeout")]
    nid = await shop.open(("a",), on_unknown="hold")
    await until(lambda: shop.stage.state(nid) == "settled")
    refused = {"status": "rejected", "err-code": "6"}
    assert await shop.say(nid, messageId="v-1", **refused) == {"reopened": 1}
    await until(lambda: shop.stage.state(nid) == "held", 600.0)
    assert await shop.say(nid, messageId="v-2", **refused) == {"undelivered": 1}
    assert shop.stage.state(nid) == "held"
    assert await shop.say(nid, mark=CallMark(0, 1), messageId="v-3", **refused) == {"reopened": 1}


@virtual
async def test_an_operators_rule_decides_about_a_receipt_too() -> None:
    """An operator's rule about a code wins over our list, also if the code comes in a receipt.

    If the rule says `final`, nothing is sent again. If it says `account`, the second vendor sends the message.
    """
    for means, sent in ((Meaning.FINAL, 0), (Meaning.ACCOUNT, 1)):
        shop = Shop(rules=(Rule(re.compile("twilio_30007"), means),))
        nid = await shop.open()
        await until(lambda shop=shop, nid=nid: shop.stage.state(nid) == "settled")  # type: ignore[misc]
        await shop.say(nid, MessageSid="a-1", MessageStatus="undelivered", ErrorCode="30007")
        await until(lambda shop=shop, nid=nid: shop.stage.state(nid) == "settled")  # type: ignore[misc]
        assert len(shop.b.sent) == sent
        assert shop.stage.counted("dispatcher_account_refusals", "a", "twilio_30007") == sent


@virtual
async def test_a_held_message_that_was_refused_for_certain_goes_on() -> None:
    """A held message goes to the second vendor after a receipt with `failed`, which says that nothing was sent.

    After `undelivered` it stays held until its deadline, and then becomes a dead letter.
    """
    for fields, state, sent in (
        ({"MessageStatus": "failed", "ErrorCode": "30999"}, "settled", 1),
        ({"MessageStatus": "undelivered", "ErrorCode": "30999"}, "dead", 0),
        ({"MessageStatus": "undelivered", "ErrorCode": "30008"}, "dead", 0),
    ):
        shop = Shop()
        shop.a.outcomes = [Outcome.unknown("timeout")]
        nid = await shop.open(on_unknown="hold")
        await until(lambda shop=shop, nid=nid: shop.stage.state(nid) == "held")  # type: ignore[misc]
        await shop.say(nid, MessageSid="SM9", **fields)
        await until(lambda shop=shop, nid=nid, state=state: shop.stage.state(nid) == state)  # type: ignore[misc]
        assert len(shop.b.sent) == sent


@virtual
async def test_a_fallback_waits_while_the_next_vendor_tries() -> None:
    """When an SMS is refused late, it is sent again. The mail that is its fallback is not sent meanwhile."""
    play = Play()
    tid = await play.begin(600, "delivered")
    stage = play.stage
    store = MemoryStore(stage.cell)
    (record,) = stage.cell.records.values()
    await until(lambda: play.states() == ("settled", "standby"), 2.0)
    record.kept_ms = stage.clock.wall_ms() + 60_000
    late = LateRefusals(
        *(store, stage.metrics, stage.clock, lambda: plan_of(1, a="closed", mail="closed")),
        policy=RetryPolicy(),
        rules={},
        now_ms=stage.clock.wall_ms,
    )
    readers = {"a": partial(read_receipts, "twilio")}
    receipts = Receipts(LINKS, store, stage.views, stage.metrics, readers=readers, late=late)
    link = LINKS.link("a", f"{tid}.0")
    query = dict(part.split("=", 1) for part in urlsplit(link.url).query.split("&"))
    body = b"MessageSid=a-1&MessageStatus=undelivered&ErrorCode=30007"
    assert await receipts.call_back("a", query, body) == {"reopened": 1}
    await until(lambda: play.states() == ("settled", "standby") and len(play.sms.sent) == 2, 120.0)
    assert play.mail.sent == []
