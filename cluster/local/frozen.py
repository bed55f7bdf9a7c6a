"""Finds replicas that are stopped (by SIGSTOP, or in a frozen container), by the process state in /proc.

Serve asks a replica whether it is healthy. Serve cannot tell a slow replica from a stopped replica, so it waits long
for an answer. But a stopped process never answers. So this module ends a stopped process. Serve notices the death at
once and starts another replica.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

from cluster.local.foreground import say
from cluster.local.state_directory import processes_of

STOPPED_S = 6.0
"""How long a process may be stopped, in seconds. Somebody may stop a process for a moment to look at it."""

WATCHED = ("ray::ServeReplica:", "/fork_server.py")
"""The texts in the command line of a watched process. While the fork server is stopped, no worker can start."""

LISTED_S = 10.0
"""How often the replicas are listed, in seconds. Listing them reads the environment of every process."""


def stopped(pids: Iterable[int], proc: Path = Path("/proc")) -> set[int]:
    """Return the ids in `pids` whose process is stopped. A process that a debugger has stopped is not included."""
    found = set()
    for pid in pids:
        try:
            state = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, LookupError):
            continue  # it has ended
        if state == "T":
            found.add(pid)
    return found


class Frozen:
    """Remembers when each stopped process was first seen stopped (by SIGSTOP or a debugger)."""

    def __init__(self) -> None:
        self._since_s: dict[int, float] = {}

    def look(self, stopped_now: set[int], now_s: float) -> list[int]:
        """Return the ids of the processes that have been stopped for `STOPPED_S` seconds without interruption.

        `stopped_now` are the ids of the processes that are stopped at `now_s` (monotonic seconds).
        """
        self._since_s = {pid: self._since_s.get(pid, now_s) for pid in stopped_now}
        return sorted(pid for pid, since_s in self._since_s.items() if now_s - since_s >= STOPPED_S)


class FrozenReplicas:
    """Ends the stopped replicas of one installation. Serve itself would notice them much later."""

    def __init__(self, marker: str) -> None:
        """Watch the processes whose environment carries `marker`."""
        self._marker, self._frozen, self._replicas = marker, Frozen(), set[int]()
        self._looked_s = self._listed_s = 0.0

    def end(self, now_s: float) -> None:
        """Kill each replica that has been stopped for `STOPPED_S` seconds.

        A call does nothing if the previous look at the processes was less than a second ago.
        """
        if now_s - self._looked_s < 1.0:
            return
        self._looked_s = now_s
        if now_s - self._listed_s >= LISTED_S:
            self._listed_s = now_s
            with contextlib.suppress(OSError):  # no process can be listed, and the known ones are still watched
                found = processes_of(self._marker)
                self._replicas = {pid for pid, command in found.items() if any(name in command for name in WATCHED)}
        for pid in self._frozen.look(stopped(self._replicas), now_s):
            self._replicas.discard(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                say(f"process {pid} was stopped for {STOPPED_S:g} s; ended, another is started")
