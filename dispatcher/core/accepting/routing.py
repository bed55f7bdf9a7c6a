"""The choice of the vendors that may carry a notification, and of their order.

Rules
-----
1. Routes are checked in the order of the configuration. The first whose channel and match fit gives the chain.
2. An empty match list fits all. An unknown country (None) fits only an empty country list: a list is a promise.
3. `life.decide_mailbox` chooses the first vendor of the chain, as it chooses every mailbox.
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
    """Return the vendors of the first route that fits, in order. The result is never empty.

    Args:
        country: ISO 3166 alpha-2 code of the recipient's number; None if it has none.

    Errors: `CallerError` (422) if no route fits, because this notification could never be sent.
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
