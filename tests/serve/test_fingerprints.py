"""A changed configuration restarts every pool that reads the changed part, and no other pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from dispatcher.config.settings import Settings, parse_settings

WHOLE: dict[str, Any] = {
    "vendors": {"a": {"adapter": "twilio", "channel": "sms"}, "b": {"adapter": "vonage", "channel": "sms"}},
    "routes": [{"channel": "sms", "chain": ["a", "b"]}],
    "templates": {"paid": {"text": "Paid."}},
}
RECEIPTS = {"receipts": {"public_url": "https://shop.example", "secret": "${SECRET}"}}


def fingerprints(settings: Settings, *more: Mapping[str, str]) -> dict[str, str]:
    """Return the fingerprints of the applications. Ray is imported only here, because its import takes a second."""
    from serve_app import applications

    return applications.fingerprints(settings, *more)


@pytest.mark.parametrize(
    ("changes", "restarts"),
    [
        pytest.param({}, set(), id="nothing"),
        pytest.param(RECEIPTS, {"intake", "vendor-a", "vendor-b"}, id="receipts: vendors send the links"),
        pytest.param({"templates": {"paid": {"text": "Thanks."}}}, {"intake"}, id="a template's text"),
        pytest.param({"courier": {"take_s": 2.0}}, {"intake", "vendor-a", "vendor-b"}, id="couriers"),
        pytest.param(
            {"store": {"durability": "replica"}}, {"intake", "vendor-a", "vendor-b"}, id="start marks wait for replicas"
        ),
    ],
)
def test_a_change_restarts_who_reads_it(changes: dict[str, Any], restarts: set[str]) -> None:
    """A change of the configuration changes the fingerprints of exactly those applications that are named in
    `restarts`.

    SIGHUP and `deploy` restart an application if its fingerprint has changed.
    """
    before, after = fingerprints(parse_settings(WHOLE), {}), fingerprints(parse_settings({**WHOLE, **changes}), {})
    assert {name for name in after if after[name] != before[name]} == restarts


@pytest.mark.parametrize(
    ("secrets", "restarts"),
    [({"a": "1"}, {"vendor-a"}), ({"receipts": "1"}, {"intake", "vendor-a", "vendor-b"}), ({}, set[str]())],
)
def test_a_changed_secret_restarts_who_reads_it(secrets: dict[str, str], restarts: set[str]) -> None:
    """A secret is changed behind its reference. The fingerprints of exactly the applications in `restarts` change, so
    only they restart.

    The configuration itself has not changed, because it holds only the reference. So the digests of the secrets go into
    the fingerprints too.
    """
    settings = parse_settings(WHOLE)
    before, after = fingerprints(settings, {}), fingerprints(settings, {}, secrets)
    assert {name for name in after if after[name] != before[name]} == restarts
