"""Which vendors may carry a notification, and in which order.

Rules
-----
1. Routes are tried in the order of the configuration; the first whose channel and match fit gives the chain.
2. An empty match list fits all. An unknown country (None) fits only an empty country list: a list is a promise.
3. Which of the chain gets it first is `life.decide_mailbox`, as for everything that looks for a mailbox.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from dispatcher.errors import CallerError


class RouteMatch(Protocol):
    @property
    def country(self) -> Collection[str]: ...
    @property
    def tenant(self) -> Collection[str]: ...
    @property
    def priority(self) -> Collection[str]: ...


class Route(Protocol):
    @property
    def channel(self) -> str: ...
    @property
    def chain(self) -> Sequence[str]: ...
    @property
    def match(self) -> RouteMatch: ...


def choose_chain(
    routes: Sequence[Route], channel: str, country: str | None, tenant: str, priority: str
) -> tuple[str, ...]:
    """The vendors of the first route that fits, in order; never empty.

    Args:
        country: ISO 3166 alpha-2 of the recipient's number; None when there is none.

    Errors: `CallerError` (422) when no route fits: this notification could never be sent.
    """
    for route in routes:
        if route.channel == channel and _fits(route.match, country, tenant, priority):
            return tuple(route.chain)
    raise CallerError("recipient", f"no route carries {channel} to this recipient")


def _fits(match: RouteMatch, country: str | None, tenant: str, priority: str) -> bool:
    return (
        (not match.country or country in match.country)
        and (not match.tenant or tenant in match.tenant)
        and (not match.priority or priority in match.priority)
    )
