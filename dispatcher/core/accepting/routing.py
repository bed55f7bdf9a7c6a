"""The choice and the order of the vendors that may send a notification.

Rules:

1. A route fits if its channel and every list of its match fit. An empty list fits everything. An unknown country (None)
   fits only an empty country list, because a route that lists countries promises only those.
2. Among the routes that fit, one that names the event comes first, then one that names the tenant, then the country,
   then the priority. Among equals the order of the configuration counts.
3. The route's chain is the order of its vendors. The vendors of its `split` come before the others, in a weighted
   random order that depends only on the notification's id. Each of them is first in proportion to its weight. If the
   first is down, the others share its part in proportion to their weights. The same id always gives the same order.
4. `life.decide_mailbox` chooses the first usable vendor of the chain, as it chooses every mailbox.

Rule 3 is weighted rendezvous hashing: the lowest `-ln(u) / weight` is first, with `u` uniform and independent for each
vendor (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006). In sorted order, such draws are a
weighted sample without replacement. The shares after the first vendor follow from that.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from dispatcher.errors import CallerError


class RouteMatch(Protocol):
    @property
    def event(self) -> Collection[str]: ...
    @property
    def tenant(self) -> Collection[str]: ...
    @property
    def country(self) -> Collection[str]: ...
    @property
    def priority(self) -> Collection[str]: ...


class Route(Protocol):
    @property
    def channel(self) -> str: ...
    @property
    def chain(self) -> Sequence[str]: ...
    @property
    def split(self) -> Mapping[str, int]: ...
    @property
    def match(self) -> RouteMatch: ...


AnyRoute = TypeVar("AnyRoute", bound=Route)


@dataclass(frozen=True, slots=True)
class Traffic:
    """The facts about a notification by which a route is chosen. `country` is ISO 3166 alpha-2, or None if unknown."""

    channel: str
    event: str
    tenant: str
    country: str | None
    priority: str


def rank_routes(routes: Sequence[AnyRoute], traffic: Traffic) -> list[AnyRoute]:
    """Return the routes that fit, the best first (rules 1 and 2). The list may be empty."""
    return sorted((route for route in routes if _fits(route, traffic)), key=_named, reverse=True)


def choose_chain(routes: Sequence[Route], traffic: Traffic, nid: str) -> tuple[str, ...]:
    """Return the vendors that may send the notification `nid`, in the order in which they are tried.

    The result has at least one vendor. Raises CallerError (422) if no route fits, because such a notification could
    never be sent.
    """
    fitting = rank_routes(routes, traffic)
    if not fitting:
        raise CallerError("recipient", f"cannot be reached, because no route carries {traffic.channel} there")
    return order_chain(fitting[0], nid)


def order_chain(route: Route, nid: str) -> tuple[str, ...]:
    """Return the route's vendors in the order in which they are tried for the notification `nid` (rule 3)."""
    if not route.split:
        return tuple(route.chain)
    drawn = sorted(route.split, key=lambda vendor: (_draw(nid, vendor) / route.split[vendor], vendor))
    return (*drawn, *(name for name in route.chain if name not in route.split))


def possible_chains(route: Route) -> tuple[tuple[str, ...], ...]:
    """Return one chain for each vendor that may come first under the route's `split`.

    In each chain, the other vendors of the split follow the first vendor, the greatest weight first. The rest of the
    route's chain comes last.
    """
    if not route.split:
        return (tuple(route.chain),)
    by_weight = sorted(route.split, key=lambda vendor: (-route.split[vendor], vendor))
    rest = [name for name in route.chain if name not in route.split]
    return tuple((first, *(name for name in by_weight if name != first), *rest) for first in by_weight)


def is_hidden(route: Route, earlier: Route) -> bool:
    """Return True if no message can ever be sent by `route`, because every message that fits it is sent by `earlier`
    (rule 2).

    `earlier` stands before `route` in the configuration.
    """
    if route.channel != earlier.channel or _named(route) != _named(earlier):
        return False
    return all(set(mine) <= set(other) for mine, other in zip(_lists(route), _lists(earlier), strict=True))


def _draw(nid: str, vendor: str) -> float:
    """Return a positive pseudo-random number that depends only on the notification's id and the vendor.

    Over many ids the numbers are exponentially distributed. So if each number is divided by the vendor's share, a
    vendor has the smallest result as often as its share says.
    """
    raw = hashlib.sha256(f"{nid}\0{vendor}".encode()).digest()
    return -math.log((int.from_bytes(raw[:6], "big") + 0.5) / 2**48)


def _fits(route: Route, traffic: Traffic) -> bool:
    match = route.match
    return (
        route.channel == traffic.channel
        and (not match.event or traffic.event in match.event)
        and (not match.tenant or traffic.tenant in match.tenant)
        and (not match.country or traffic.country in match.country)
        and (not match.priority or traffic.priority in match.priority)
    )


def _lists(route: Route) -> tuple[Collection[str], ...]:
    match = route.match
    return match.event, match.tenant, match.country, match.priority


def _named(route: Route) -> tuple[bool, ...]:
    return tuple(map(bool, _lists(route)))
