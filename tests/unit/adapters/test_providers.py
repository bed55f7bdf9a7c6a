"""Checks the options of providers: each mistake is named by its field, and no value is ever shown."""

from __future__ import annotations

import traceback
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.adapters import providers
from dispatcher.adapters.providers import PROVIDERS, all_providers, build, provider
from dispatcher.adapters.providers.fields import parse_email_sender, parse_sms_sender, reachable_from_outside, url_fault
from dispatcher.adapters.providers.provider import Provider
from dispatcher.errors import ConfigError

RIGHT: dict[str, dict[str, Any]] = {
    "twilio": {"account_sid": "AC1", "auth_token": "hidden-1", "sender": "+4915112345678"},
    "vonage": {"api_key": "a", "api_secret": "hidden-1", "sender": "Shop"},
    "sendgrid": {"api_key": "hidden-1", "sender": "shop@example.com"},
    "smtp": {"host": "mail.example.com", "username": "u", "password": "hidden-1", "sender": "shop@example.com"},
}


def make(adapter: str, **options: Any) -> Any:
    return build(adapter, "v", PROVIDERS[adapter].channels[0], {**RIGHT[adapter], **options})


@pytest.mark.parametrize("adapter", RIGHT)
def test_right_options_make_a_vendor_without_a_connection(adapter: str) -> None:
    """Right options build a vendor without an event loop, so that no connection can be opened."""
    assert make(adapter).name == "v"
    assert set(RIGHT) == set(PROVIDERS)


WRONG = [
    *[(name, {"sendr": "Shop"}, "sendr: is not an option of this adapter; allowed: ") for name in RIGHT],
    *[(name, {"sender": None}, "sender: is needed") for name in RIGHT],
    *[(name, {"sender": ""}, "sender: must") for name in RIGHT],
    *[(name, {"sender": 49151}, "sender: must be a text") for name in RIGHT],
    *[(name, {"base_url": "example.com"}, "base_url: must begin with http://") for name in RIGHT if name != "smtp"],
    ("twilio", {"base_url": "https://api.twilio.com:twilio"}, "base_url: must be a URL"),
    ("twilio", {"base_url": "https://api.twilio.com:99999"}, "base_url: must be a URL"),
    ("twilio", {"base_url": "https://"}, "base_url: must have a host"),
    ("twilio", {"base_url": "https://user:word@api.twilio.com"}, "base_url: must not contain a user"),
    ("twilio", {"base_url": "https://api.twilio.com?a=b"}, "base_url: must not contain a query"),
    ("twilio", {"account_sid": "SK/../x"}, "account_sid: "),
    *[
        ("smtp", {"helo_name": name}, "helo_name: must be a name by which others")
        for name in ("localhost", "LOCALHOST.")
    ],
    ("twilio", {"auth_token": "hid\nden-1"}, "auth_token: must not contain a line end"),
    ("twilio", {"auth_token": ["hidden-1"]}, "auth_token: "),
    ("twilio", {"sender": "A name that is too long"}, "sender: must be a number"),
    ("twilio", {"auth_token": None}, "auth_token: is needed unless api_key is given"),
    ("twilio", {"api_key": "SK1", "auth_token": None}, "api_key_secret: is needed if api_key is given"),
    ("twilio", {"api_key_secret": "hidden-2"}, "api_key_secret: must be left out without api_key"),
    ("twilio", {"api_key": "SK1", "api_key_secret": "hidden-2"}, "auth_token: must be left out"),
    ("twilio", {"api_key": "AC1", "api_key_secret": "hidden-2", "auth_token": None}, "api_key: must be an API key"),
    ("vonage", {"entity_id": "11\n01"}, "entity_id: must not contain a line end"),
    ("vonage", {"sender": "+49 151 1234"}, "sender: must be a number"),
    ("vonage", {"sender": "Ümlaut"}, "sender: must be a number"),
    ("sendgrid", {"sender": "Shop"}, "sender: must be one e-mail address"),
    ("sendgrid", {"sender": "a@example.com, b@example.com"}, "sender: must be one e-mail address"),
    ("smtp", {"sender": "shop@"}, "sender: must be one e-mail address"),
    ("smtp", {"sender": "Shop, Inc. <shop@example.com>"}, "sender: must have double quotes around a display name"),
    ("smtp", {"port": 0}, "port: "),
    ("smtp", {"port": 65536}, "port: "),
    ("smtp", {"port": "smtp"}, "port: must be a whole number"),
    ("smtp", {"port": True}, "port: must be a whole number"),
    ("smtp", {"port": 25.5}, "port: must be a whole number"),
    ("smtp", {"starttls": "perhaps"}, "starttls: must be true or false"),
    ("smtp", {"starttls": 1}, "starttls: must be true or false"),
    ("smtp", {"host": "smtp://mail.example.com"}, "host: must be a host name without a scheme"),
    ("smtp", {"host": "mail.example.com:587"}, "host: must be a host name alone"),
    ("smtp", {"host": "mail example.com"}, "host: must be a host name or an IP address"),
    ("smtp", {"password": None}, "password: is needed if username is given"),
    ("smtp", {"username": None}, "username: is needed if password is given"),
    ("smtp", {"tls": "ssl"}, "tls: "),
    ("smtp", {"tls": "implicit", "starttls": True}, "starttls: must be left out, because tls is implicit"),
    ("smtp", {"ca_file": "/nowhere.pem"}, "ca_file: must be a file of certificates"),
    ("smtp", {"ca_file": __file__}, "ca_file: must be a file"),
    ("smtp", {"helo_name": "localhost"}, "helo_name: must be a name by which others know this host"),
    ("smtp", {"helo_name": "a b"}, "helo_name: must be a host name"),
    ("smtp", {"reply_to": "help"}, "reply_to: must be one e-mail address"),
    ("smtp", {"headers": {"bCC": "hid@x.org"}}, "headers: must not set bCC"),
    ("smtp", {"headers": {"Content-Type": "text/hid"}}, "headers: must not set Content-Type"),
    ("smtp", {"headers": {"X-A": "hid\r\nBcc: e@x.org"}}, "headers: must give X-A a text without a line end"),
    ("smtp", {"headers": {"X A": "hid"}}, "headers: must name each header"),
    ("smtp", {"headers": {"X-A": "hid", "x-a": "hid"}}, "headers: must name each header once"),
    ("smtp", {"list_unsubscribe": "http://example.com"}, "list_unsubscribe: must be one address"),
    ("smtp", {"list_unsubscribe": "https://example.com/{to}"}, "list_unsubscribe: must be one address"),
]


@pytest.mark.parametrize(("adapter", "change", "says"), WRONG)
def test_a_wrong_option_is_named_with_its_rule(adapter: str, change: dict[str, Any], says: str) -> None:
    """The error for a wrong option is one line with the field and the rule.

    Neither the line nor the traceback shows a value.
    """
    with pytest.raises(ConfigError) as refused:
        make(adapter, **change)
    assert f"vendors.v.options.{says}" in str(refused.value)
    assert str(refused.value).count("\n") == 0
    assert "hid" not in "".join(traceback.format_exception(refused.value))


def test_every_fault_is_told_at_once() -> None:
    """One error names all faulty options of a vendor, one line each."""
    with pytest.raises(ConfigError) as refused:
        build("smtp", "v", "email", {"hots": "x", "port": "no", "sender": "s"})
    assert [line.split(": ")[0].rpartition(".")[2] for line in str(refused.value).split("\n")] == [
        "sender",
        "host",
        "port",
        "hots",
    ]


@pytest.mark.parametrize(("adapter", "channel"), [("twilio", "push"), ("smtp", "sms"), ("sendgrid", "webhook")])
def test_a_channel_that_the_provider_cannot_carry_is_refused(adapter: str, channel: str) -> None:
    """A channel that the provider does not have is refused in one sentence with the vendor, the channel and what
    is allowed.
    """
    with pytest.raises(ConfigError, match=rf"^vendors\.v\.channel: '{channel}' is not allowed: {adapter} has \w+$"):
        build(adapter, "v", channel, RIGHT[adapter])


@pytest.mark.parametrize("adapter", RIGHT)
def test_no_vendor_or_option_shows_its_secret(adapter: str) -> None:
    """No secret is in the representation of a vendor's attributes or of its options, which a traceback with locals
    would show.
    """
    vendor = make(adapter)
    options = PROVIDERS[adapter].check("v", RIGHT[adapter])
    for text in (repr(vars(vendor)), repr(options), str(options), options.model_dump_json()):
        assert "hidden-1" not in text and "QUMxOmhpZGRlbi0x" not in text


@pytest.mark.parametrize(
    ("text", "address", "name"),
    [
        ("shop@example.com", "shop@example.com", ""),
        (" <shop@example.com> ", "shop@example.com", ""),
        ("Shop <shop@example.com>", "shop@example.com", "Shop"),
        ('"Shop, Inc." <shop@example.com>', "shop@example.com", "Shop, Inc."),
        (r'"The \"Shop\"" <shop@example.com>', "shop@example.com", 'The "Shop"'),
        ("Müller & Söhne < shop+eu@example.com >", "shop+eu@example.com", "Müller & Söhne"),
        ("Müller <shop@müller.example>", "shop@xn--mller-kva.example", "Müller"),
    ],
)
def test_a_sender_has_a_name_and_an_address(text: str, address: str, name: str) -> None:
    """An e-mail sender is parsed into an address and a display name, so that the name cannot get into the envelope
    (keepalived 2365, zerobyte 339).
    """
    found = parse_email_sender(text)
    assert (found.address, found.name) == (address, name)


def test_an_international_host_is_used_in_a_labels() -> None:
    """An SMTP host or a sender's domain has non-ASCII letters. The ASCII form (A-labels) is used to look up the host
    and in the greeting (zammad 2401).
    """
    vendor = make("smtp", host="mail.müller.example", sender="Müller <shop@müller.example>")
    assert (vendor._host, vendor._helo_name) == ("mail.xn--mller-kva.example", "xn--mller-kva.example")


@given(st.text(max_size=30))
def test_whatever_is_a_sender_is_one_address(text: str) -> None:
    """Text in front of `<a@b.example>` is refused with ValueError, or it becomes the display name of exactly that
    address.
    """
    try:
        found = parse_email_sender(text + "<a@b.example>")
    except ValueError:
        return
    assert (found.address == "a@b.example" and found.name.isprintable()) or not found.name.isascii()


@pytest.mark.parametrize("text", ["+4915112345678", "4915112345678", "12345", "Shop", "Shop & Co", " Shop\n", "1A"])
def test_numbers_short_codes_and_names_send_sms(text: str) -> None:
    """A telephone number, a short code or a name is valid as the sender of an SMS. White space around it is dropped."""
    assert parse_sms_sender(text) == text.strip()


def test_a_messaging_service_may_send() -> None:
    """A Twilio sender that begins with MG is sent as `MessagingServiceSid`, and a number is sent as `From`."""
    service = "MG" + "0" * 32
    assert make("twilio", sender=service)._sender == {"MessagingServiceSid": service}
    assert make("twilio")._sender == {"From": "+4915112345678"}


OUTSIDE = ["https://shop.example.com", "http://8.8.8.8:8080/x", "https://[2001:4860:4860::8888]/"]
INSIDE = ["http://localhost:8000", "http://127.0.0.1", "http://10.1.2.3", "http://192.168.1.1", "http://[::1]:80"]
INSIDE += ["http://app", "http://app.local", "http://169.254.1.1", "http://[::ffff:10.0.0.1]", "http://x.localhost."]
INSIDE += ["http://0.0.0.0", "http://100.64.0.1", "http://a.internal", "http://224.0.0.1"]


@pytest.mark.parametrize("url", [*OUTSIDE, *INSIDE])
def test_what_a_provider_can_call(url: str) -> None:
    """A provider can call host names with a dot and public addresses.

    Private addresses, loopback and local names are valid but not reachable from outside.
    """
    assert url_fault(url) is None
    assert reachable_from_outside(url) is (url in OUTSIDE)


@pytest.mark.parametrize(
    "url", ["http://2130706433", "http://127.1", "http://a..b", "http://-a", "ftp://a.b", "http://"]
)
def test_what_is_no_address(url: str) -> None:
    """`url_fault` finds a fault in a URL with an unusual spelling of an IP address, a broken host name, another scheme
    than HTTP, or no host.
    """
    assert url_fault(url) is not None


# Other people's providers ---------------------------------------------------------------------------------------------

ECHO = Provider("echo", ("sms",), PROVIDERS["vonage"].options, PROVIDERS["vonage"].build)
NOT_A_PROVIDER = object()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Yield a function that sets which entry points the installed packages have."""

    def install(**named: str) -> None:
        entries = [EntryPoint(name, f"{__name__}:{value}", providers.GROUP) for name, value in named.items()]
        monkeypatch.setattr(providers, "entry_points", lambda group: entries if group == providers.GROUP else [])
        all_providers.cache_clear()

    yield install
    all_providers.cache_clear()


def test_an_installed_package_adds_a_provider(installed: Any) -> None:
    """A provider of an installed package is found by its entry point, and its options are checked like those of a
    provider of ours.
    """
    installed(echo="ECHO")
    assert provider("echo") is ECHO
    with pytest.raises(ConfigError, match=r"vendors\.v\.options\.api_key: is needed"):
        build("echo", "v", "sms", {})


def test_a_broken_package_stops_only_those_who_use_it(installed: Any) -> None:
    """A provider whose package is broken is refused with the reason, and all other providers work.

    A package cannot replace a provider of ours.
    """
    installed(broken="ABSENT", odd="NOT_A_PROVIDER", twilio="ECHO")
    with pytest.raises(ConfigError, match="broken cannot be used: its package cannot be loaded: AttributeError"):
        provider("broken")
    with pytest.raises(ConfigError, match="must lead to a Provider"):
        provider("odd")
    assert provider("twilio") is PROVIDERS["twilio"]
    with pytest.raises(ConfigError, match=r"^must be one of 'broken', 'odd', 'sendgrid', 'smtp', 'twilio', 'vonage'$"):
        provider("carrier-pigeon")
