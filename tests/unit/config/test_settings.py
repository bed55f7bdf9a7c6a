"""Checks the configuration file: which values are allowed, and what its errors name."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from dispatcher.config.secret_references import resolve, resolve_options
from dispatcher.config.settings import parse_settings
from dispatcher.config.yaml_file import load_settings
from dispatcher.errors import ConfigError

WHOLE: dict[str, Any] = {
    "vendors": {
        "sms-a": {"adapter": "twilio", "channel": "sms", "rate_per_s": 10, "options": {"auth_token": "${TOKEN}"}},
        "sms-b": {"adapter": "vonage", "channel": "sms", "breaker": {"min_calls": 5}},
        "email-a": {"adapter": "smtp", "channel": "email"},
    },
    "routes": [
        {"channel": "sms", "chain": ["sms-b"], "match": {"country": ["NO"]}},
        {"channel": "sms", "chain": ["sms-a", "sms-b"]},
        {"channel": "email", "chain": ["email-a"]},
    ],
    "events": {
        "checkout.completed": {
            "notifications": [{"channel": "sms", "template": "paid"}, {"channel": "email", "template": "paid"}]
        }
    },
    "templates": {"paid": {"subject": "Order {{ order }}", "text": "Paid."}},
}


def fallback(**changes: Any) -> dict[str, Any]:
    """Return an event whose SMS falls back to an e-mail."""
    mail = {"channel": "email", "template": "paid", **changes}
    return {"notifications": [{"channel": "sms", "template": "paid", "fallback": mail}]}


def changed(path: str, value: Any) -> dict[str, Any]:
    data: Any = copy.deepcopy(WHOLE)
    *parents, last = path.split("/")
    at = data
    for part in parents:
        at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
    at[int(last) if isinstance(at, list) else last] = value
    return data  # type: ignore[no-any-return]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "dispatcher.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_file_gives_every_default(tmp_path: Path) -> None:
    """An empty file gives settings with every default and no vendors."""
    settings = load_settings(write(tmp_path, ""))
    assert settings.vendors == {}
    assert settings.limits.body_bytes_max == 262_144
    assert settings.courier.settle_interval_ms == 100


def test_settings_survive_the_way_to_another_process() -> None:
    """Settings that are dumped as JSON and parsed again are equal to the original, with references unresolved."""
    settings = parse_settings(WHOLE)
    dumped = json.loads(json.dumps(settings.model_dump(mode="json")))
    assert parse_settings(dumped) == settings
    assert dumped["vendors"]["sms-a"]["options"] == {"auth_token": "${TOKEN}"}


def test_a_low_maximum_alone_lowers_the_minimum() -> None:
    """A `concurrency_max` below the default minimum is allowed, because the writer did not choose that minimum.

    The dumped settings can also be parsed again.
    """
    settings = parse_settings(changed("vendors/sms-a/concurrency_max", 4))
    assert parse_settings(settings.model_dump(mode="json")) == settings


NOTE = {"channel": "sms", "template": "paid"}
CAP = {"channel": "sms", "max": 5, "per_s": 3600}
QUIET = {"begin": "21:00", "end": "08:00"}


@pytest.mark.parametrize(
    ("path", "value", "field", "allowed"),
    [
        ("vendors/sms-a/adapter", "carrier-pigeon", "vendors.sms-a.adapter: 'carrier-pigeon'", "'twilio', 'vonage'"),
        ("vendors/sms-a/replicas_min", 0, "vendors.sms-a.replicas_min: 0", "greater than or equal to 1"),
        ("vendors/sms-a/replicas_min", 5, "vendors.sms-a.replicas_max: 4", "at least replicas_min, 5"),
        ("vendors/sms-a/rate_per_s", "10", "vendors.sms-a.rate_per_s: '10'", "valid number"),
        ("vendors/sms-a/rate_per_s", float("nan"), "vendors.sms-a.rate_per_s: nan", "finite number"),
        ("vendors/sms-a/channel", "email", "vendors.sms-a.channel: 'email'", "twilio has sms"),
        ("vendors/sms-a/token", "s3cret", "vendors.sms-a.token: is not a known field", "adapter, channel, options"),
        ("vendors/sms-b/breaker/open_wait_s_max", 1, "vendors.sms-b.breaker.open_wait_s_max: 1.0", "open_wait_s, 5"),
        ("vendors/sms-b/breaker/open_wait_jitter", 2, "vendors.sms-b.breaker.open_wait_jitter: 2", "less than or"),
        ("vendors/Bad_Name", {"adapter": "smtp", "channel": "email"}, "vendors.Bad_Name: the name", "[a-z0-9]"),
        ("routes/0/chain/0", "sms-z", "routes.0.chain.0: 'sms-z'", "sms has sms-a, sms-b"),
        ("routes/0/chain/0", "email-a", "routes.0.chain.0: 'email-a'", "sms has sms-a, sms-b"),
        ("routes/1/chain/1", "sms-a", "routes.1.chain.1: 'sms-a'", "already"),
        ("routes/0/chain", [], "routes.0.chain: a list", "at least 1 item"),
        ("routes/0/match/country/0", "Norway", "routes.0.match.country.0: 'Norway'", "[A-Z]{2}"),
        ("events/x", {"notifications": [{"channel": "push", "template": "paid"}]}, "channel: 'push'", "sms"),
        ("limits", {"recipient_caps": [CAP | {"max": 0}]}, "limits.recipient_caps.0.max: 0", "greater than or equal"),
        ("limits", {"recipient_caps": [CAP | {"priority": ["vip"]}]}, "recipient_caps.0.priority.0: 'vip'", "'high'"),
        ("limits", {"recipient_caps": [CAP, CAP | {"max": 9}]}, "limits.recipient_caps.1: counts the same", "entry 0"),
        ("tenants", {"shop": {"weight": 0}}, "tenants.shop.weight: 0", "greater than or equal to 1"),
        ("tenants", {"shop": {"weight": 2.5}}, "tenants.shop.weight: 2.5", "valid integer"),
        ("tenants", {"shop": {"accept_per_s": 0}}, "tenants.shop.accept_per_s: 0", "greater than or equal to 0.001"),
        ("tenants", {"shop": {"accept_burst": 5}}, "tenants.shop.accept_per_s: is missing", "accept_burst is given"),
        ("store", {"durability": "disk"}, "store.durability: 'disk'", "'primary' or 'replica'"),
        ("store", {"replicas": 2}, "store.durability: must be replica", "replicas is given"),
        ("store", {"durability": "replica", "replicas": 0}, "store.replicas: 0", "greater than or equal to 1"),
        ("store", {"cells": ["redis://host"]}, "store.cells.0: a value not shown", "${NAME} or file:/path"),
        ("store", {"cells": ["${R}", "${S}", "${R}"]}, "store.cells.2: ${R} is not allowed", "it is entry 0 too"),
        ("store", {"cells": [f"${{R{n}}}" for n in range(16)]}, "store.cells: a value not", "at most 15 items"),
        (
            *("store", {"durability": "replica", "replicas": 1, "replicas_away_max": 1}),
            *("store.replicas_away_max: 1", "less than replicas, 1"),
        ),
        ("tenants", {"shop": {"rate": 5}}, "tenants.shop.rate: is not a known field", "accept_per_s"),
        ("tenants", {"": {"weight": 2}}, "tenants.: the name ''", "at least 1"),
        ("events/x", {"notifications": [{"channel": "sms", "template": "no"}]}, "template: 'no'", "paid"),
        (
            "events/x",
            {"notifications": [NOTE], "quiet_hours": QUIET | {"begin": 1260}},
            "quiet_hours.begin: 1260",
            "needs quotes",
        ),
        (
            "events/x",
            {"notifications": [NOTE], "quiet_hours": QUIET | {"end": "24:00"}},
            "quiet_hours.end: '24:00'",
            "[0-5]",
        ),
        (
            "events/x",
            {"notifications": [NOTE], "quiet_hours": QUIET | {"time_zone": "Moon"}},
            "time_zone: 'Moon'",
            "Berlin",
        ),
        ("events/x", fallback(channel="sms"), "0.fallback.channel: must be another channel than sms", "sms"),
        ("events/x", fallback(channel="push"), "0.fallback.channel: 'push'", "routes carry email, sms"),
        ("events/x", fallback(template="no"), "0.fallback.template: 'no'", "paid"),
        ("events/x", fallback(after_s=0), "0.fallback.after_s: 0", "greater than or equal to 1"),
        (
            "events/x",
            fallback(wait_for="delivered"),
            "0.fallback.after_s: is required if wait_for is delivered",
            "never come",
        ),
        (
            "events/x",
            fallback(wait_for="delivered", after_s=9),
            "fallback.wait_for: 'delivered'",
            "receipts.public_url",
        ),
        (
            "events/x",
            {"notifications": [NOTE], "quiet_hours_by_channel": {"sms": QUIET | {"end": "8:00"}}},
            "events.x.quiet_hours_by_channel.sms.end: '8:00'",
            "[0-5]",
        ),
        ("events/x", {"notifications": [NOTE], "quiet_hours_by_channel": {"fax": None}}, "fax", "'sms', 'email'"),
        ("vendors/sms-a/channel", "push", "vendors.sms-a.channel: 'push'", "twilio has sms"),
        ("routes/0/channel", "chat", "routes.0.chain.0: 'sms-b'", "chat has none"),
        ("receipts/secret", "${SECRET}", "receipts.public_url: is missing", "secret is given"),
        ("receipts/public_url", "shop.example", "receipts.public_url: 'shop.example'", "https?"),
        ("templates/paid", {"text": "Paid."}, "templates.paid.subject: is missing", "by email"),
        ("templates/paid", {"subject": "x"}, "templates.paid.text: is missing", "required"),
        ("templates/paid/text", "Hi\n{{ name", "templates.paid.text: it does not compile", "line 2: unexpected end"),
        ("templates/paid/subject", "{{ range(9) }}", "templates.paid.subject: it does not compile", "Call"),
        ("templates/paid/html", "<a href='{{ x", "templates.paid.html: it does not compile", "line 1"),
        ("limits/memory_ratio_max", 1, "limits.memory_ratio_max: 1", "less than 1"),
        ("intake/replicas_max", 1, "intake.replicas_max: 1", "at least replicas_min, 2"),
        ("vendors/sms-a/concurrency_min", 65, "vendors.sms-a.concurrency_max: 64", "at least concurrency_min, 65"),
        ("vendors/sms-a/segments_max", 11, "vendors.sms-a.segments_max: 11", "twilio accepts at most 10"),
        ("vendors/sms-b/segments_max", 256, "vendors.sms-b.segments_max: 256", "less than or equal to 255"),
        ("vendors/sms-a/timeout_s", 1e300, "vendors.sms-a.timeout_s: 1e+300", "less than or equal to 31622400"),
        ("vendors/sms-a/replicas_max", 10**6, "vendors.sms-a.replicas_max: 1000000", "less than or equal to 1000"),
        ("vendors/sms-a/rate_per_s", 1e-300, "vendors.sms-a.rate_per_s: 1e-300", "greater than or equal to 0.001"),
        ("vendors/sms-b/breaker/window_s", 10**12, "vendors.sms-b.breaker.window_s: 10", "less than or equal to 86400"),
        ("vendors/sms-b/breaker/open_wait_multiplier", 1e300, "breaker.open_wait_multiplier: 1e+300", "equal to 100"),
        ("limits/body_bytes_max", 10**30, "limits.body_bytes_max: 10", "less than or equal to"),
        ("limits/sms_countries", ["UK"], "limits.sms_countries.0: 'UK'", "GB, never UK"),
        ("routes/0/match/country/0", "XX", "routes.0.match.country.0: 'XX'", "ISO 3166"),
        ("vendors/sms-a/rules", [{"match": ".*", "means": "final"}], "rules.0.match: '.*'", "not match an empty text"),
        ("colour", "blue", "colour: is not a known field", "vendors, routes, events"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(path: str, value: Any, field: str, allowed: str) -> None:
    """The error for a bad value names the dotted field, the value, and what would be right."""
    with pytest.raises(ConfigError) as caught:
        parse_settings(changed(path, value))
    assert field in str(caught.value)
    assert allowed in str(caught.value)


def test_no_error_shows_what_may_be_a_secret() -> None:
    """An error shows neither a wrong value of `options` nor the value of an unknown field, and `repr` of the
    settings shows no option.
    """
    for path in ("vendors/sms-a/options", "vendors/sms-a/token"):
        with pytest.raises(ConfigError) as caught:
            parse_settings(changed(path, "s3cret"))
        assert "s3cret" not in str(caught.value)
    assert "TOKEN" not in repr(parse_settings(WHOLE))


def test_references_are_resolved_where_they_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """References to variables and files are resolved at any depth of the options, and other values stay as they
    are.
    """
    monkeypatch.setenv("HOST", "vendor.test")
    (tmp_path / "key").write_text("s3cret\n", encoding="utf-8")
    options = {"base_url": "https://${HOST}/v1", "keys": [{"key": f"file:{tmp_path}/key"}], "port": 25, "from": "$5"}
    assert resolve_options(options) == {
        "base_url": "https://vendor.test/v1",
        "keys": [{"key": "s3cret"}],
        "port": 25,
        "from": "$5",
    }


@pytest.mark.parametrize("value", ["${ABSENT_VARIABLE}", "file:/absent/secret", "${EMPTY_VARIABLE}", "${no-name}"])
def test_a_reference_to_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A reference to a missing or empty variable or to a missing file raises ConfigError that names it."""
    monkeypatch.setenv("EMPTY_VARIABLE", "")
    with pytest.raises(ConfigError, match=r"ABSENT_VARIABLE|EMPTY_VARIABLE|/absent/secret|\$\{NAME\}"):
        resolve(value)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "$TOKEN",
            "$$TOKEN",
            "$${TOKEN}",
            "$(TOKEN)",
            "%TOKEN%",
            "{{ TOKEN }}",
            "env:TOKEN",
            "file:secret.txt",
            "file:~/secret",
            "file:${TOKEN}",
        ),
        *("vault:secret/data/twilio#token", "op://shop/twilio/token", "ssm:/shop/token", "awssm://shop/token"),
        *("arn:aws:secretsmanager:eu-west-1:1:secret:shop", "projects/shop/secrets/token/versions/latest"),
        *("@Microsoft.KeyVault(SecretUri=https://shop.vault.azure.net/secrets/t/)", "ENC[AES256_GCM,data:abc=]"),
        *("<your auth token>", "<AUTH_TOKEN>"),
    ],
)
def test_a_reference_of_another_program_is_no_secret(value: str) -> None:
    """A value that looks like another program's reference is refused.

    Otherwise the reference would be sent as the password, and the vendor would answer 401.
    """
    with pytest.raises(
        ConfigError, match=r"looks like a reference of another program; allowed are \$\{NAME\} and file:/path"
    ):
        resolve(value)


@pytest.mark.parametrize(
    "value", ["$ecret", "pa$$word", "vault", "secret:abc", "a<b>c", "op:x", "arn:x", "ENCODED", "5<6"]
)
def test_a_password_that_begins_like_a_reference_is_one(value: str) -> None:
    """A password that only begins like a reference is used as it is."""
    assert resolve(value) == value


def test_a_secret_in_quotes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that is enclosed in quotes is refused, because `docker run --env-file` keeps the quotes (moby
    46773, cognee 1721).
    """
    monkeypatch.setenv("TOKEN", '"s3cret"')
    with pytest.raises(ConfigError, match="TOKEN is in quotes") as refused:
        resolve("${TOKEN}")
    assert "s3cret" not in str(refused.value)


def test_a_file_that_is_no_secret_is_not_read_whole(tmp_path: Path) -> None:
    """A device, a pipe or a file of more than 65,536 bytes is refused as a secret.

    Reading a device would fill the memory, and a pipe would wait for its writer.
    """
    (tmp_path / "key").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_text("x" * 65_537)
    for name, rule in (("key", "no regular file"), ("pipe", "no regular file"), ("long", "more than 65536 bytes")):
        with pytest.raises(ConfigError, match=rule):
            resolve(f"file:{tmp_path}/{name}")


def test_a_resolved_value_is_not_resolved_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that contains something like a reference is used as it is."""
    monkeypatch.setenv("TOKEN", "a${B}c")
    assert resolve("${TOKEN}") == "a${B}c"
