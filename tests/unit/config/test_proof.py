"""`prove` checks a configuration before it is used, and names every fault that a constructor would find by its
field.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from actors.proof import load_proven, prove, secrets_digest
from dispatcher.config.secret_references import resolve
from dispatcher.config.settings import parse_settings
from dispatcher.errors import ConfigError

TWILIO = {"account_sid": "AC1", "auth_token": "${TOKEN}", "sender": "+4915112345678"}
WHOLE: dict[str, Any] = {
    "vendors": {
        "a": {"adapter": "twilio", "channel": "sms", "options": TWILIO},
        "m": {"adapter": "smtp", "channel": "email", "options": {"host": "127.0.0.1", "sender": "Shop <s@a.example>"}},
    },
    "routes": [{"channel": "sms", "chain": ["a"]}, {"channel": "email", "chain": ["m"]}],
}


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "first\n")


def changed(vendor: str | None = None, **changes: Any) -> dict[str, Any]:
    data = copy.deepcopy(WHOLE)
    if vendor is None:
        return {**data, **changes}
    data["vendors"][vendor]["options"] |= changes.pop("options", {})
    data["vendors"][vendor] |= changes
    return data


def test_a_right_configuration_is_proven() -> None:
    """`prove` returns an empty list for a right configuration."""
    assert prove(parse_settings(WHOLE)) == []


RECEIPTS = {"public_url": "https://shop.example", "secret": "${TOKEN}"}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (changed("a", options={"sendr": "Shop"}), "vendors.a.options.sendr: is not an option"),
        (changed("a", options={"auth_token": "${NEW_KEY}"}), "vendors.a.options.auth_token: ${NEW_KEY}: the environ"),
        (changed("a", options={"auth_token": "file:/absent"}), "vendors.a.options.auth_token: file:/absent: the file"),
        (changed("a", options={"auth_token": None}), "vendors.a.options.auth_token: is needed"),
        (changed("a", options={"base_url": "https://x:y"}), "vendors.a.options.base_url: must be a URL"),
        (changed("m", options={"port": "587x"}), "vendors.m.options.port: must be a whole number"),
        (changed("m", options={"sender": "Shop"}), "vendors.m.options.sender: must be one e-mail address"),
        (changed("a", breaker={"open_wait_s": 0.0001}), "vendors.a.breaker: open_wait_ms: must be at least 1"),
        (changed(receipts={**RECEIPTS, "secret": "${NO_KEY}"}), "receipts.secret: ${NO_KEY}: the environment"),
        (changed(receipts={**RECEIPTS, "public_url": "http://localhost:8000"}), "receipts.public_url: 'http://local"),
        (changed(receipts={**RECEIPTS, "public_url": "http://10.0.0.7"}), "no provider can call it from outside"),
    ],
)
def test_each_fault_is_found_and_named(data: dict[str, Any], says: str) -> None:
    """`prove` raises ConfigError for each fault, in one line with the field and the rule."""
    with pytest.raises(ConfigError) as refused:
        prove(parse_settings(data))
    assert says in str(refused.value)
    assert str(refused.value).count("\n") == 0, "one fault is one line"


@pytest.mark.parametrize("url", ["http://localhost:99999", "http://", "https://shop example"])
def test_an_address_that_is_none_is_refused_by_the_file_alone(url: str) -> None:
    """A `public_url` that is no URL is refused while the file is parsed, before any secret is read."""
    with pytest.raises(ConfigError, match=r"receipts\.public_url"):
        parse_settings(changed(receipts={**RECEIPTS, "public_url": url}))


def test_a_provider_of_our_own_may_call_an_address_of_our_own() -> None:
    """`public_url` may be a loopback address if every vendor that sends receipts is on loopback too, as the sandbox is.

    If one vendor has the address of a real provider, the loopback address is refused.
    """
    receipts = {**RECEIPTS, "public_url": "http://localhost:8000"}
    sandbox = changed("a", options={"base_url": "http://127.0.0.1:9000/a"})
    assert prove(parse_settings({**sandbox, "receipts": receipts})) == []
    region = changed("a", options={"base_url": "https://api.ie1.twilio.com"})
    with pytest.raises(ConfigError, match=r"receipts\.public_url"):
        prove(parse_settings({**region, "receipts": receipts}))


def test_all_faults_come_at_once() -> None:
    """One error names the faults of two vendors and of the receipts, one line each."""
    data = changed("a", options={"auth_token": "${NO_A}", "sendr": "x"})
    data["vendors"]["m"]["options"] = {"host": "${NO_B}"}
    with pytest.raises(ConfigError) as refused:
        prove(parse_settings({**data, "receipts": {**RECEIPTS, "secret": "${NO_C}"}}))
    fields = [line.split(": ")[0] for line in str(refused.value).split("\n")]
    assert fields == [
        "vendors.a.options.auth_token",
        "vendors.a.options.sendr",
        "vendors.m.options.host",
        "vendors.m.options.sender",
        "receipts.secret",
    ]


def test_a_secret_that_is_elsewhere_is_listed_and_no_fault() -> None:
    """A secret is missing on this machine. With `secrets_elsewhere`, as `deploy` calls it, `prove` returns the secret's
    name in a list and raises nothing.

    Any other fault still raises ConfigError.
    """
    data = changed("a", options={"auth_token": "${NO_A}"})
    (listed,) = prove(parse_settings(data), secrets_elsewhere=True)
    assert listed.startswith("vendors.a.options.auth_token: ${NO_A}")
    with pytest.raises(ConfigError) as refused:
        prove(parse_settings(changed("a", options={"auth_token": "${NO_A}", "sendr": "x"})), secrets_elsewhere=True)
    assert str(refused.value).startswith("vendors.a.options.sendr")


def test_a_certificate_is_proven_where_it_is_used() -> None:
    """A missing certificate raises ConfigError.

    With `secrets_elsewhere` the fault is only returned in the list, because the nodes have the certificate.
    """
    settings = parse_settings(changed(tls={"certificate": "/nowhere/c.pem"}))
    fault = "tls.certificate: /nowhere/c.pem: cannot be read: No such file or directory"
    with pytest.raises(ConfigError) as refused:
        prove(settings)
    assert str(refused.value) == fault
    assert prove(settings, secrets_elsewhere=True) == [fault]


def test_a_file_is_read_and_proven(tmp_path: Path) -> None:
    """`load_proven` reads a file and raises ConfigError for a vendor's missing option."""
    path = tmp_path / "c.yaml"
    path.write_text("vendors: {a: {adapter: twilio, channel: sms, options: {sendr: x}}}")
    with pytest.raises(ConfigError, match="account_sid: is needed"):
        load_proven(path)


@pytest.mark.parametrize("content", ["SG.key\n", "SG.key\r\n", "  SG.key\t\n\n", "\ufeffSG.key\n", "\xa0SG.key\u200b"])
def test_white_space_around_a_secret_is_dropped(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """White space, line ends and a byte order mark around a secret are dropped.

    `echo KEY | base64` adds a line end (sendgrid-nodejs 732), and Notepad adds a byte order mark (fli 4,
    pandora 138).
    """
    (tmp_path / "key").write_bytes(content.encode())
    monkeypatch.setenv("KEY", content)
    assert resolve(f"file:{tmp_path}/key") == resolve("${KEY}") == "SG.key"


@pytest.mark.parametrize("content", ["SG.\nkey", "SG.\x1bkey", "SG.key\x7fx", "SG.\u200bkey", "SG.\x85key"])
def test_a_control_character_is_refused_by_the_name(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A control character inside a secret is refused.

    The error names the variable or the file and never shows the content (feature-store-api 1145 printed the
    key).
    """
    (tmp_path / "key").write_text(content)
    monkeypatch.setenv("KEY", content)
    for reference, name in ((f"file:{tmp_path}/key", str(tmp_path)), ("${KEY}", "the environment variable KEY")):
        with pytest.raises(ConfigError, match="control character") as refused:
            resolve(reference)
        assert name in str(refused.value) and "SG." not in str(refused.value)


def test_a_changed_secret_has_another_digest(tmp_path: Path) -> None:
    """A changed secret changes the digest of its own vendor only.

    With another digest key all digests differ, so only somebody who has the key can compare digests.
    """
    (tmp_path / "key").write_text("first")
    settings = parse_settings(changed("a", options={"auth_token": f"file:{tmp_path}/key"}))
    before = secrets_digest(settings, b"k")
    (tmp_path / "key").write_text("second")
    after = secrets_digest(settings, b"k")
    assert before["a"] != after["a"] and before["m"] == after["m"]
    assert secrets_digest(settings, b"other")["a"] != after["a"]
