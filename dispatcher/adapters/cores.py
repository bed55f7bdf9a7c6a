"""Reads from /proc how many cores of this machine are free, and how much CPU time this process gets.

In a container, the quotas of control groups (version 2) count too. The quota of the process's own group counts, and the
quotas of all visible groups above this group. The number of free cores is the smallest unused part of a quota, or the
number of the machine's idle cores if this is smaller.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

WINDOW_S = 1.0


@dataclass(frozen=True, slots=True)
class CoreReading:
    """How this process and its thread used the cores in the last window of `WINDOW_S`, and how many cores are free.

    `free_cores` is the lower of the values of the last two windows. A load that began in the middle of the last window
    fills only a part of it, so the value of that window alone would be too high.
    """

    cpu: float
    """The number of cores that this process used."""
    waiting: float
    """The part of the time, from 0 to 1, in which the thread that called `read` was ready to run and had no core."""
    free_cores: float


class Cores:
    """Measures the use of cores. A new value is measured at most once a second, so that a call of `read` is cheap."""

    def __init__(self, proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc, self._groups = proc, groups
        self._began_s: float | None = None
        self._idle_s: float | None = None
        self._cpu_s = self._waited_s = 0.0
        self._group_s: dict[Path, float] = {}
        self._free_before: float | None = None
        self._latest: CoreReading | None = None

    def read(self, now_s: float) -> CoreReading | None:
        """Return the latest reading, or None if there is none yet or /proc has no counters.

        `now_s` is the monotonic time in seconds.
        """
        if self._began_s is not None and now_s - self._began_s < WINDOW_S:
            return self._latest
        idle_s, cpu_s, group_s = self._idle(), time.process_time(), self._used()
        waited_s = self._waited()
        if idle_s is not None and self._idle_s is not None and self._began_s is not None:
            passed_s = now_s - self._began_s
            free = max(0.0, (idle_s - self._idle_s) / passed_s)
            for group, quota in self._quotas().items():
                if group in group_s and group in self._group_s:
                    free = min(free, max(0.0, quota - (group_s[group] - self._group_s[group]) / passed_s))
            lesser = free if self._free_before is None else min(free, self._free_before)
            waiting = min(1.0, max(0.0, waited_s - self._waited_s) / passed_s)
            self._latest = CoreReading((cpu_s - self._cpu_s) / passed_s, waiting, lesser)
            self._free_before = free
        self._began_s, self._idle_s, self._cpu_s, self._group_s = now_s, idle_s, cpu_s, group_s
        self._waited_s = waited_s
        return self._latest

    def _idle(self) -> float | None:
        """Return the total idle seconds, since boot, of the cores that this process may use, or None if unknown."""
        try:
            mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
            lines = [line.split() for line in (self._proc / "stat").read_text().splitlines()]
            ticks = sum(int(fields[4]) + int(fields[5]) for fields in lines if fields and fields[0] in mine)
        except (AttributeError, OSError, LookupError, ValueError):
            return None
        return ticks / os.sysconf("SC_CLK_TCK")

    def _waited(self) -> float:
        """Return the total seconds for which this thread has waited for a core.

        The thread runs the actor's event loop.
        """
        try:
            found = (self._proc / "self" / "task" / str(threading.get_native_id()) / "schedstat").read_text()
            return int(found.split()[1]) / 1e9
        except (OSError, LookupError, ValueError):
            return 0.0

    def _own_groups(self) -> list[Path]:
        try:
            lines = (self._proc / "self" / "cgroup").read_text().splitlines()
        except OSError:
            return []
        path = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
        if path is None:
            return []
        group = self._groups / path.lstrip("/")
        return [group, *(above for above in group.parents if above.is_relative_to(self._groups))]

    def _quotas(self) -> dict[Path, float]:
        """Return how many cores each control group may use. A group without a limit is left out."""
        found: dict[Path, float] = {}
        for group in self._own_groups():
            try:
                quota, period = (group / "cpu.max").read_text().split()
                if quota != "max":
                    found[group] = int(quota) / int(period)
            except (OSError, ValueError):
                continue
        return found

    def _used(self) -> dict[Path, float]:
        """Return the total CPU seconds that each control group has used."""
        found: dict[Path, float] = {}
        for group in self._own_groups():
            try:
                fields = (group / "cpu.stat").read_text().split()
                found[group] = int(fields[fields.index("usage_usec") + 1]) / 1e6
            except (OSError, ValueError, LookupError):
                continue
        return found
