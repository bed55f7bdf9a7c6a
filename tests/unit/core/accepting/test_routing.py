"""Which chain, and which vendor of it."""

from __future__ import annotations

import pytest

from dispatcher.config.settings import RouteSettings
from dispatcher.core.accepting.routing import choose_chain
from dispatcher.errors import CallerError

ROUTES = [
    RouteSettings.model_validate(route)
    for route in (
        {"channel": "sms", "chain": ["vip"], "match": {"tenant": ["gold"], "priority": ["high"]}},
        {"channel": "sms", "chain": ["nordic", "b"], "match": {"country": ["NO", "SE"]}},
        {"channel": "sms", "chain": ["a", "b"]},
        {"channel": "sms", "chain": ["never"]},
        {"channel": "email", "chain": ["mail"], "match": {"tenant": ["gold"]}},
    )
]


@pytest.mark.parametrize(
    ("channel", "country", "tenant", "priority", "chain"),
    [
        ("sms", "NO", "gold", "high", ("vip",)),
        ("sms", "NO", "gold", "normal", ("nordic", "b")),
        ("sms", "SE", "t", "high", ("nordic", "b")),
        ("sms", "DE", "t", "high", ("a", "b")),
        ("sms", None, "t", "bulk", ("a", "b")),
        ("email", None, "gold", "normal", ("mail",)),
    ],
)
def test_the_first_route_that_fits_wins(
    channel: str, country: str | None, tenant: str, priority: str, chain: tuple[str, ...]
) -> None:
    """Every list of a match must fit; empty lists fit all; an unknown country fits no list."""
    assert choose_chain(ROUTES, channel, country, tenant, priority) == chain


@pytest.mark.parametrize(("channel", "tenant"), [("push", "t"), ("email", "t")])
def test_without_a_route_the_request_is_refused(channel: str, tenant: str) -> None:
    """A notification that could never be sent is not accepted."""
    with pytest.raises(CallerError, match=f"no route carries {channel}"):
        choose_chain(ROUTES, channel, None, tenant, "normal")
