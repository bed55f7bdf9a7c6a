"""Prints warnings on the terminal of `up` about stalled deliveries, and about channels without a working vendor."""

from __future__ import annotations

from cluster.direct import FAULTS, read_directly
from cluster.local.foreground import say


class DeliveryWarnings:
    """The warnings of the service at `url`. Each warning is printed once when it begins, and once when it is over."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._warned: set[str] = set()

    def show(self) -> None:
        """Ask the service for its health. Print each warning that is new, and each warning that is over.

        If the service does not answer, nothing is printed.
        """
        try:
            health = read_directly(f"{self._url}/healthz", 2)
        except FAULTS:
            return
        stalled = {f"delivery by {s['vendor']} ({s['channel']}) is stalled" for s in health.get("stalled", ())}
        idle = {f"no vendor is left for {channel}" for channel in health.get("channels_without_vendor", ())}
        now = stalled | idle
        for text in sorted(now - self._warned):
            say(f"WARNING: {text}; `dispatcher status` says more")
        for text in sorted(self._warned - now):
            say(f"over: {text}")
        self._warned = now
