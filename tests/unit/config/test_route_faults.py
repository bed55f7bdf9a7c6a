"""A route or a split that cannot work is refused when the file is read, by its field."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.config.settings import parse_settings
from dispatcher.errors import ConfigError

FILE: dict[str, Any] = {
    "vendors": {
        "sms-a": {"adapter": "twilio", "channel": "sms"},
        "sms-b": {"adapter": "vonage", "channel": "sms"},
        "mail": {"adapter": "smtp", "channel": "email"},
    },
    "events": {"paid": {"notifications": [{"channel": "sms", "template": "paid"}]}},
    "templates": {"paid": {"text": "Paid."}},
}


def parsed(*routes: dict[str, Any]) -> None:
    parse_settings({**FILE, "routes": [{"channel": "sms", **route} for route in routes]})


def test_a_whole_route_is_right() -> None:
    """A route with an event, a tenant, a country, a priority and a split is valid, beside a second route for
    everything else.
    """
    match = {"event": ["paid"], "tenant": ["gold"], "country": ["NO"], "priority": ["high"]}
    parsed({"chain": ["sms-a", "sms-b"], "split": {"sms-a": 70, "sms-b": 30}, "match": match}, {"chain": ["sms-b"]})


@pytest.mark.parametrize(
    ("route", "fault"),
    [
        ({"chain": ["sms-z"]}, "routes.0.chain.0: 'sms-z' is not allowed: sms has sms-a, sms-b"),
        ({"chain": ["sms-a", "mail"]}, "routes.0.chain.1: 'mail' is not allowed: sms has sms-a, sms-b"),
        ({"chain": ["sms-a"], "split": {"sms-a": 1, "sms-z": 1}}, "routes.0.split.sms-z: is not allowed: the chain"),
        ({"chain": ["sms-a", "sms-b"], "split": {"sms-a": 7}}, "routes.0.split: one vendor is not allowed"),
        ({"chain": ["sms-a", "sms-b"], "split": {"sms-a": 0, "sms-b": 1}}, "routes.0.split.sms-a: 0 is not allowed"),
        ({"chain": ["sms-a", "sms-b"], "split": {"sms-a": 0.7}}, "routes.0.split.sms-a: 0.7 is not allowed"),
        ({"chain": ["sms-a"], "match": {"events": ["paid"]}}, "routes.0.match.events: is not a known field; allowed"),
        ({"chain": ["sms-a"], "match": {"event": ["pa id"]}}, "routes.0.match.event.0: 'pa id' is not allowed"),
    ],
)
def test_each_fault_names_its_field(route: dict[str, Any], fault: str) -> None:
    """A faulty route raises ConfigError with the field and what is allowed."""
    with pytest.raises(ConfigError) as error:
        parsed(route)
    assert fault in str(error.value)


def test_an_event_that_no_route_carries_is_found() -> None:
    """An event whose channel only has routes for other events is refused."""
    with pytest.raises(ConfigError, match=r"events\.paid\.notifications\.0\.channel: 'sms'.*routes carry none"):
        parsed({"chain": ["sms-a"], "match": {"event": ["login.code"]}})


NEVER_USED = [
    (({}, {}), "routes.1.match: is not allowed: routes.0 is taken first"),
    (({"event": ["a", "b"]}, {}, {"event": ["b"]}), "routes.2.match: is not allowed: routes.0 is taken first"),
    (({"country": ["DE"], "tenant": ["x"]}, {"tenant": ["x"], "country": ["DE"]}), "routes.1.match: is not allowed"),
]


@pytest.mark.parametrize(("matches", "fault"), NEVER_USED)
def test_a_route_that_is_never_used_is_found(matches: tuple[dict[str, Any], ...], fault: str) -> None:
    """Two routes fit the same messages. The second would never be used, because the first route that fits is always
    chosen. The configuration is refused.
    """
    with pytest.raises(ConfigError) as error:
        parsed(*({"chain": ["sms-a"], "match": match} for match in matches))
    assert fault in str(error.value)


def test_routes_that_overlap_in_part_are_right() -> None:
    """Some routes fit the same messages, and the more specific of them are used first. No fault is found.

    Each route is used by some message, also a route that stands later and has more conditions.
    """
    matches: list[dict[str, Any]] = [{}, {"event": ["a"]}, {"event": ["a", "b"]}, {"event": ["a"], "tenant": ["x"]}]
    parsed(*({"chain": ["sms-a"], "match": match} for match in matches))


def test_a_mail_has_no_country() -> None:
    """A route of e-mails with a condition on the country is refused, because only an SMS has a country.

    Such a route would match no e-mail.
    """
    with pytest.raises(ConfigError, match=r"routes\.0\.match\.country: is not allowed: only an SMS has a country"):
        parsed({"channel": "email", "chain": ["mail"], "match": {"country": ["DE"]}}, {"chain": ["sms-a"]})
