"""Lowers the priority of Serve's controller and proxy processes, because intake needs the cores."""

from __future__ import annotations

import contextlib

from cluster.local.state_directory import give_way

HOUSEKEEPERS = ("ray::ServeController", "ray::ProxyActor")
"""Processes of Serve that get a low priority. Twice a second they compute for 20 ms, on cores that intake needs.

Serve cannot set the niceness of single actors. The HAProxyManager is not in this list: each haproxy that it starts at a
reload would get its niceness and keep it.
"""
NICENESS = 15
PERIOD_S = 30.0


class Housekeeping:
    """Keeps the priority of one installation's Serve controller and proxies low (`HOUSEKEEPERS`).

    Serve starts these processes again with the usual priority, so their priority is lowered again and again.
    """

    def __init__(self, marker: str) -> None:
        """Set up the housekeeping of one installation. Each process of the installation has `marker` in its
        environment.
        """
        self._marker, self._calmed_s = marker, float("-inf")

    def calm(self, now_s: float) -> None:
        """Lower the priority of the installation's Serve controller and proxies (`HOUSEKEEPERS`), at most every
        `PERIOD_S` seconds.

        If Serve has started such a process again, the process has the usual priority until the next call.
        """
        if now_s - self._calmed_s >= PERIOD_S:
            self._calmed_s = now_s
            with contextlib.suppress(OSError):  # no process can be listed: later
                give_way(self._marker, HOUSEKEEPERS, NICENESS)
