"""Holds a process to a share of one core, with a control group of the kernel. It needs root, and cgroup v1 or v2.

A group with a quota may run for so many microseconds in each period, and then it is throttled until the next period.
The kernel refuses quotas under 1 ms. Here a period is as short as that allows, but at least 10 ms. So a process that
is throttled waits for some milliseconds and not for a tenth of a second, which is the kernel's usual period.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.processes import cpu_s

MOUNTS = Path("/proc/mounts")
QUOTA_US_MIN, PERIOD_US_MIN = 1_000, 10_000


@dataclass(frozen=True, slots=True)
class Controller:
    """The mounted hierarchy of control groups that has the CPU controller, and its version: 1 or 2."""

    root: Path
    version: int

    def set(self, group: Path, quota_us: int, period_us: int) -> None:
        if self.version == 1:
            (group / "cpu.cfs_period_us").write_text(str(period_us))
            (group / "cpu.cfs_quota_us").write_text(str(quota_us))
        else:
            (group / "cpu.max").write_text(f"{quota_us} {period_us}")

    def home(self, pid: int) -> Path:
        """Return the group that a process is in."""
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if ("cpu" in controllers.split(",")) if self.version == 1 else number == "0":
                return self.root / path.lstrip("/")
        return self.root


def find_controller(mounts: str) -> Controller | None:
    """Return the hierarchy with the CPU controller, or None. `mounts` is the text of /proc/mounts.

    Version 1 is preferred: where both are mounted, version 2 has no controllers that version 1 has.
    """
    found = None
    for _, folder, kind, options, *_ in (line.split(" ") for line in mounts.splitlines()):
        if kind == "cgroup" and "cpu" in options.split(","):
            return Controller(Path(folder), 1)
        if kind == "cgroup2":
            found = Controller(Path(folder), 2)
    return found


def quota(share: float) -> tuple[int, int]:
    """Return the quota and the period in microseconds that hold a process to `share` of a core."""
    period_us = max(PERIOD_US_MIN, round(QUOTA_US_MIN / share))
    return max(QUOTA_US_MIN, round(period_us * share)), period_us


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters of the kernel for one process and its group, at `at_s` of the monotonic clock."""

    at_s: float
    cpu_s: float
    periods: int
    throttled: int
    throttled_s: float

    def since(self, earlier: Reading) -> Reading:
        """Return what was counted between an earlier reading and this one. Its `at_s` is the seconds between them."""
        return Reading(
            self.at_s - earlier.at_s,
            self.cpu_s - earlier.cpu_s,
            self.periods - earlier.periods,
            self.throttled - earlier.throttled,
            self.throttled_s - earlier.throttled_s,
        )


class CpuQuota:
    """Holds one process inside the `with` block. At the end it is released, and the group is removed.

    Raises ClickException if the kernel does not allow it.
    """

    def __init__(self, pid: int, share: float) -> None:
        self.pid, self.share = pid, share
        self._group: Path | None = None

    def __enter__(self) -> CpuQuota:
        found = find_controller(MOUNTS.read_text())
        if found is None:
            raise click.ClickException("no control groups with a CPU controller are mounted, so no Redis can be held")
        self._controller, self._home = found, found.home(self.pid)
        group = found.root / f"dispatcher-benchmark-{os.getpid()}-{self.pid}"
        try:
            group.mkdir()
            self._group = group
            found.set(group, *quota(self.share))
            (group / "cgroup.procs").write_text(str(self.pid))
        except OSError as error:
            self.__exit__()
            raise click.ClickException(
                f"a Redis cannot be held to a share of a core; it needs root: {error}"
            ) from error
        return self

    def __exit__(self, *exception: object) -> None:
        if self._group is None:
            return
        for pid in (self._group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):  # ended in between
                (self._home / "cgroup.procs").write_text(pid)
        with contextlib.suppress(OSError):  # a killed process leaves its group a little later
            self._group.rmdir()
        self._group = None

    def read(self) -> Reading:
        assert self._group is not None
        found = dict(line.split() for line in (self._group / "cpu.stat").read_text().splitlines())
        old = self._controller.version == 1
        throttled_s = int(found["throttled_time"]) / 1e9 if old else int(found["throttled_usec"]) / 1e6
        counts = int(found["nr_periods"]), int(found["nr_throttled"])
        return Reading(time.monotonic(), cpu_s([self.pid]), *counts, throttled_s)
