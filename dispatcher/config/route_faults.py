"""Finds the faults of routes that concern more than one field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from dispatcher.config.fault_text import listed
from dispatcher.core.accepting.routing import Route


class Vendor(Protocol):
    @property
    def channel(self) -> str: ...


def route_faults(routes: Sequence[Route], vendors: Mapping[str, Vendor]) -> Iterator[str]:
    """Yield one sentence for each fault in a chain or a split.

    A chain may name only vendors with the route's channel, and each only once. A split needs two or more vendors of its
    chain.
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


def channels_routed(routes: Iterable[Route], event: str) -> list[str]:
    """Return the channels, sorted, for which at least one route matches this event."""
    return sorted({route.channel for route in routes if not route.match.event or event in route.match.event})
