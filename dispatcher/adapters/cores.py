"""Reads in /proc how many cores of this machine are free, and how much CPU time this process gets.

A container's quota counts. What is free is what the process's control group (version 2), and each visible group above
it, may still use, and never more than what the machine has idle.
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
    """The use of cores over the last window.

    `free_cores` is the lower value of the last two windows, so that new load counts whole.
    """

    cpu: float
    """Cores that this process used."""
    waiting: float
    """Seconds of each second in which the thread that asks was ready to run and had no core."""
    free_cores: float


class Cores:
    """Reads the use of cores at most once a second, so that asking costs nothing."""

    def __init__(self, proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc, self._groups = proc, groups
        self._began_s: float | None = None
        self._idle_s: float | None = None
        self._cpu_s = self._waited_s = 0.0
        self._group_s: dict[Path, float] = {}
        self._free_before: float | None = None
        self._latest: CoreReading | None = None

    def read(self, now_s: float) -> CoreReading | None:
        """Return the latest reading; None if there is none yet, or this is no Linux."""
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
        """Return the total idle seconds of the cores that this process may run on."""
        try:
            mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
            lines = [line.split() for line in (self._proc / "stat").read_text().splitlines()]
            ticks = sum(int(fields[4]) + int(fields[5]) for fields in lines if fields and fields[0] in mine)
        except (AttributeError, OSError, LookupError, ValueError):
            return None
        return ticks / os.sysconf("SC_CLK_TCK")

    def _waited(self) -> float:
        """Return the total seconds for which this thread, which runs the actor's loop, has waited for a core."""
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
        """Return the cores that each control group may use. A group without a limit is left out."""
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
        """Return the total CPU seconds of each control group."""
        found: dict[Path, float] = {}
        for group in self._own_groups():
            try:
                fields = (group / "cpu.stat").read_text().split()
                found[group] = int(fields[fields.index("usage_usec") + 1]) / 1e6
            except (OSError, ValueError, LookupError):
                continue
        return found
