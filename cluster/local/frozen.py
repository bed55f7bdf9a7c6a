"""A replica that was stopped (SIGSTOP, a frozen container) is told apart from one that is slow, by its state in /proc.

Serve asks a replica whether it is well and cannot tell slow from stopped, so it is patient. A stopped process gets no
core however long one waits: it is ended, and Serve, which notices a death at once, starts another.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

STOPPED_S = 6.0
"""Whoever stops a process to look at it has that long."""


def stopped(pids: Iterable[int], proc: Path = Path("/proc")) -> set[int]:
    """Return those of `pids` that are stopped; a process under a debugger is not."""
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
    """Notes since when each process has been stopped."""

    def __init__(self) -> None:
        self._since_s: dict[int, float] = {}

    def look(self, stopped_now: set[int], now_s: float) -> list[int]:
        """Return the processes that have been stopped for `STOPPED_S` without a break."""
        self._since_s = {pid: self._since_s.get(pid, now_s) for pid in stopped_now}
        return sorted(pid for pid, since_s in self._since_s.items() if now_s - since_s >= STOPPED_S)
