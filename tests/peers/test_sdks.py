"""Our requests equal those that the providers' own client libraries send for the same message."""

from __future__ import annotations

import contextlib
import json
from base64 import b64decode
from dataclasses import replace
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from dispatcher.core.life.receipt import ReceiptLinks
from dispatcher.core.life.rendered_message import Message
from tests.contract.vendors import EMAIL, LONGEST, SMS
from tests.peers.captured import captured

pytestmark = pytest.mark.peers

SMS = replace(SMS, notification_id=LONGEST)
LINK = ReceiptLinks("https://notify.shop.example.com", "secret").link("sms-vonage", SMS.notification_id)
ACCOUNT, KEY, SERVICE = "AC" + "0" * 32, "SK" + "0" * 32, "MG" + "0" * 32
TEXTS = ("Grüße, order N000001", "plain", "Привет & ты=1 +%", "€{}[]~^|\\", "emoji 😀", "two\nlines", "a`b")


@pytest.fixture(autouse=True)
def clients_are_there() -> None:
    for package, module in (("twilio", "twilio"), ("sendgrid", "sendgrid"), ("vonage-sms", "vonage_sms")):
        if find_spec(module) is None:
            pytest.fail(f"the package {package} cannot be had: install the extra peers-check", pytrace=False)


class Recorder:
    """An adapter for a `requests` session. It keeps each request instead of sending it, and answers with `body`."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self.sent: list[Any] = []
        self._status, self._body = status, json.dumps(body).encode()

    def send(self, request: Any, **_: Any) -> Any:
        import requests

        self.sent.append(request)
        answer = requests.Response()
        answer.status_code, answer._content, answer.request = self._status, self._body, request
        answer.headers["Content-Type"] = "application/json"
        return answer

    def close(self) -> None:
        pass


def form_of(text: str | bytes) -> dict[str, str]:
    return dict(parse_qsl(text.decode() if isinstance(text, bytes) else text, strict_parsing=True))


def login_of(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    assert scheme == "Basic"
    return b64decode(value).decode()


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("sender", ["+4915112345678", "Shop", SERVICE])
async def test_twilios_client_sends_the_same(text: str, sender: str) -> None:
    """Our request and that of Twilio's client have the same address, login, fields and values."""
    from twilio.http.http_client import TwilioHttpClient
    from twilio.rest import Client

    recorder = Recorder(201, {"sid": "SM" + "0" * 32})
    http = TwilioHttpClient()
    http.session.mount("https://", recorder)
    own = {"messaging_service_sid": sender} if sender == SERVICE else {"from_": sender}
    message = replace(SMS, text=text, receipt=LINK, expires_in_s=300.0)
    ours = await captured(
        "twilio",
        message,
        {"account_sid": ACCOUNT, "api_key": KEY, "api_key_secret": "s", "sender": sender},
        "https://api.twilio.com",
    )
    form = form_of(ours.body)
    # We choose the address for receipts, and the client only passes it on.
    Client(KEY, "s", ACCOUNT, http_client=http).messages.create(
        to=SMS.to, body=text, status_callback=form["StatusCallback"], validity_period=300, **own
    )
    (theirs,) = recorder.sent
    assert (ours.method.upper(), ours.host_url + ours.path) == (theirs.method, theirs.url)
    assert form == form_of(theirs.body)
    assert login_of(ours.parameters.header["Authorization"]) == login_of(theirs.headers["Authorization"])


@pytest.mark.parametrize("text", TEXTS)
async def test_vonages_client_sends_the_same(text: str) -> None:
    """Our request and that of Vonage's client have the same fields and values.

    Our form has the key and secret, while the client's are in a header. Vonage accepts both ways.
    """
    from vonage_http_client import Auth, HttpClient
    from vonage_sms import Sms, SmsMessage

    recorder = Recorder(200, {"message-count": "1", "messages": [{"status": "0"}]})
    http = HttpClient(Auth(api_key="abcd1234", api_secret="secret1"))
    http._session.mount("https://", recorder)
    ids = {"entity_id": "1101456324675322134", "content_id": "1107457532145798767"}
    message = replace(SMS, text=text, receipt=LINK, expires_in_s=300.0)
    options = {"api_key": "abcd1234", "api_secret": "secret1", "sender": "Shop", **ids}
    ours = await captured("vonage", message, options, "https://rest.nexmo.com")
    form = form_of(ours.body)
    # The client may fail to read our short answer. Only its request is compared.
    with contextlib.suppress(KeyError, TypeError, ValueError):
        Sms(http).send(
            SmsMessage(
                to=SMS.to.lstrip("+"),
                from_="Shop",
                text=text,
                client_ref=form["client-ref"],
                type=form.get("type"),
                ttl=300_000,
                status_report_req=True,
                callback=form["callback"],
                **ids,
            )
        )
    (theirs,) = recorder.sent
    assert (ours.method.upper(), ours.host_url + ours.path) == (theirs.method, theirs.url)
    login = f"{form.pop('api_key')}:{form.pop('api_secret')}"
    assert login == login_of(theirs.headers["Authorization"])
    their_form = form_of(theirs.body)
    assert their_form.pop("status-report-req").lower() == form.pop("status-report-req")
    assert form == their_form


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("html", [None, "<p>Grüße</p>"])
async def test_sendgrids_client_sends_the_same(monkeypatch: pytest.MonkeyPatch, text: str, html: str | None) -> None:
    """Our request and that of SendGrid's client have the same body and the same bearer key."""
    import python_http_client
    from sendgrid import SendGridAPIClient
    from sendgrid.helpers.mail import CustomArg, From, Header, Mail, Personalization, ReplyTo, To

    message: Message = replace(EMAIL, text=text, html=html, receipt=LINK)
    ours = await captured(
        "sendgrid",
        message,
        {
            "api_key": "SG.key",
            "sender": "Müller & Söhne <shop@example.com>",
            "reply_to": "Hilfe <help@example.com>",
            "headers": {"X-Shop": "one"},
            "list_unsubscribe": "https://shop.example.com/off?n={notification_id}",
        },
        "https://api.sendgrid.com",
    )
    mail = Mail(From("shop@example.com", "Müller & Söhne"), None, EMAIL.subject, text, html)
    to = Personalization()
    to.add_to(To(EMAIL.to))
    for name, value in (("nid", EMAIL.notification_id), ("ntoken", LINK.token), ("ncall", LINK.call)):
        to.add_custom_arg(CustomArg(name, value))
    mail.add_personalization(to)
    mail.reply_to = ReplyTo("help@example.com", "Hilfe")
    unsubscribe = f"<https://shop.example.com/off?n={EMAIL.notification_id}>"
    for name, value in (
        ("Auto-Submitted", "auto-generated"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("X-Shop", "one"),
        ("List-Unsubscribe", unsubscribe),
    ):
        mail.add_header(Header(name, value))
    sent: list[Any] = []

    class Answer:
        headers: dict[str, str] = {}  # noqa: RUF012

        def getcode(self) -> int:
            return 202

        def read(self) -> bytes:
            return b""

        def info(self) -> dict[str, str]:
            return {}

    def keep(_client: Any, _opener: Any, request: Any, timeout: float | None = None) -> Answer:
        sent.append(request)
        return Answer()

    monkeypatch.setattr(python_http_client.Client, "_make_request", keep)
    SendGridAPIClient("SG.key").send(mail)
    (theirs,) = sent
    assert ours.path == urlsplit(theirs.full_url).path
    assert urlsplit(theirs.full_url).hostname == urlsplit(ours.host_url).hostname
    assert (ours.method.upper(), ours.content_type) == (theirs.get_method(), theirs.get_header("Content-type"))
    assert ours.parameters.header["Authorization"] == theirs.get_header("Authorization")
    assert json.loads(ours.body) == json.loads(theirs.data)
