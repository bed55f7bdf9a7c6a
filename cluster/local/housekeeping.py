"""Lowers the priority of the processes with which Serve looks after itself."""

from __future__ import annotations

from cluster.local.state_directory import give_way

HOUSEKEEPERS = ("ray::ServeController", "ray::ProxyActor")
"""Processes of Serve that get a low priority. Twice a second they compute for 20 ms, on cores that intake needs.

Serve cannot set the niceness of single actors. The HAProxyManager is not in this list: each haproxy that it starts at a
reload would get its niceness and keep it.
"""
NICENESS = 15
PERIOD_S = 30.0


class Housekeeping:
    """The housekeeping processes of one installation."""

    def __init__(self, marker: str) -> None:
        """`marker` tells this installation's processes from others."""
        self._marker, self._calmed_s = marker, float("-inf")

    def calm(self, now_s: float) -> None:
        """Lower their priority, at most every `PERIOD_S` seconds. One that has died comes back at the usual one."""
        if now_s - self._calmed_s >= PERIOD_S:
            self._calmed_s = now_s
            give_way(self._marker, HOUSEKEEPERS, NICENESS)
