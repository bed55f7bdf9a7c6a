"""Checks how receipts decide about a fallback that waits for delivery.

A receipt counts only for the message that it is about.
"""

from __future__ import annotations

import json
from functools import partial
from urllib.parse import urlsplit

import pytest

from dispatcher.adapters.providers.receipts import read_receipts
from dispatcher.core.life.receipt import ReceiptLinks
from dispatcher.operate.receipts import Receipts
from tests.unit.deliver.test_fallbacks import Play
from tests.virtual import until, virtual

LINKS = ReceiptLinks("https://shop.example", "secret")


def call_back(provider: str, nid: str, word: str) -> tuple[dict[str, str], bytes]:
    """Return the query and the body that the provider posts about a message."""
    link = LINKS.link("a", nid)
    query = dict(part.split("=", 1) for part in urlsplit(link.url).query.split("&"))
    if provider == "sendgrid":
        return {}, json.dumps([{"event": word, "nid": nid, "ntoken": link.token}]).encode()
    name = "MessageStatus" if provider == "twilio" else "status"
    return query, f"{name}={word}".encode()


@virtual
@pytest.mark.parametrize(
    ("provider", "word", "becomes"),
    [
        ("twilio", "sent", "standby"),
        ("twilio", "delivered", "skipped"),
        ("twilio", "read", "skipped"),
        ("twilio", "undelivered", "settled"),
        ("vonage", "accepted", "standby"),
        ("vonage", "delivered", "skipped"),
        ("vonage", "expired", "settled"),
        ("sendgrid", "processed", "standby"),
        ("sendgrid", "delivered", "skipped"),
        ("sendgrid", "bounce", "settled"),
    ],
)
async def test_a_providers_word_decides_about_the_fallback(provider: str, word: str, becomes: str) -> None:
    """An accepted SMS has a fallback that waits for its delivery. A receipt comes with a word of the provider.

    If the word means delivered, the fallback is skipped. If it means undelivered, the fallback is sent at once. After
    any other word the fallback goes on waiting.
    """
    play = Play()
    tid = await play.begin(600, "delivered")
    await until(lambda: play.states() == ("settled", "standby"), 2.0)
    stage, store = play.stage, (await play.stage.courier(play.sms, run=False))._store
    readers = {"a": partial(read_receipts, provider)}
    receipts = Receipts(LINKS, store, stage.views, stage.metrics, readers=readers)
    await receipts.call_back("a", *call_back(provider, f"{tid}.0", word))
    if becomes == "standby":
        await stage.clock.sleep(5.0)
    await until(lambda: play.states() == ("settled", becomes), 2.0)
    assert len(play.mail.sent) == (becomes == "settled")


@virtual
async def test_a_receipt_about_another_message_is_not_for_it() -> None:
    """A fallback waits only for acceptance, and it was skipped because the first notification was accepted. A receipt
    that says `undelivered` comes later. The fallback stays skipped.
    """
    play = Play()
    tid = await play.begin(600)
    await until(lambda: play.states() == ("settled", "skipped"), 2.0)
    stage, store = play.stage, (await play.stage.courier(play.sms, run=False))._store
    receipts = Receipts(LINKS, store, stage.views, stage.metrics, readers={"a": partial(read_receipts, "twilio")})
    await receipts.call_back("a", *call_back("twilio", f"{tid}.0", "undelivered"))
    assert play.states() == ("settled", "skipped")
