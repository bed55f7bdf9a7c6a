"""Finds the faults of routes that concern more than one field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from dispatcher.config.fault_text import listed
from dispatcher.core.accepting.routing import Route, is_hidden


class Vendor(Protocol):
    @property
    def channel(self) -> str: ...


def route_faults(routes: Sequence[Route], vendors: Mapping[str, Vendor]) -> Iterator[str]:
    """Yield one sentence for each fault in a chain, a split or a match.

    A chain may name only vendors with the route's channel, and each only once. A split needs two or more vendors of its
    chain. Some message must be able to take the route.
    """
    for index, route in enumerate(routes):
        able = [name for name, vendor in vendors.items() if vendor.channel == route.channel]
        at = f"routes.{index}"
        for place, name in enumerate(route.chain):
            if name not in able:
                yield f"{at}.chain.{place}: {name!r} is not allowed: {route.channel} has {listed(able)}"
            if name in route.chain[:place]:
                yield f"{at}.chain.{place}: {name!r} is not allowed: it is in this chain already"
        for name in route.split:
            if name not in route.chain:
                yield f"{at}.split.{name}: is not allowed: the chain has {listed(route.chain)}"
        if len(route.split) == 1:
            yield f"{at}.split: one vendor is not allowed: a split needs two or more"
        yield from _never_used(routes, index)


def _never_used(routes: Sequence[Route], index: int) -> Iterator[str]:
    """Yield a sentence if this route can never be used for any message. The operator who wrote it expects that it is
    used.
    """
    route = routes[index]
    if route.match.country and route.channel != "sms":
        yield f"routes.{index}.match.country: is not allowed: only an SMS has a country, so nothing takes this route"
    hiding = [n for n, earlier in enumerate(routes[:index]) if is_hidden(route, earlier)]
    if hiding:
        yield (
            f"routes.{index}.match: is not allowed: routes.{hiding[0]} is taken first wherever this matches; "
            "more vendors for the same messages belong into one chain"
        )


def channels_routed(routes: Iterable[Route], event: str) -> list[str]:
    """Return the channels, sorted, for which at least one route matches this event."""
    return sorted({route.channel for route in routes if not route.match.event or event in route.match.event})
