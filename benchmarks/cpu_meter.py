"""Measures the CPU time and the memory of the processes of a whole service."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.processes import cpu_s
from cluster.local.service import Service

PARTS = {
    "intake": "ServeReplica:intake",
    "haproxy": "haproxy",
    "vendors": "ServeReplica:vendor-",
    "supervisor": "ServeReplica:supervisor",
}
"""For each part of the service, a text in the command lines of its processes.

All other processes, `up` included, count as "ray".
"""


class CpuMeter:
    """Counts the CPU seconds of each part of a service, since the meter was made.

    A process that has ended counts with the last value that was read, so a sum never falls.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._seen: dict[str, dict[int, float]] = {}
        self._began = self._total()
        self._began_s = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds since the meter was made."""
        return time.monotonic() - self._began_s

    def read(self) -> dict[str, float]:
        return {part: cpu - self._began.get(part, 0.0) for part, cpu in self._total().items()}

    def _total(self) -> dict[str, float]:
        for part, pids in self._pids().items():
            self._seen.setdefault(part, {}).update({pid: cpu_s([pid]) for pid in pids})
        return {part: sum(found.values()) for part, found in self._seen.items()}

    def _pids(self) -> dict[str, set[int]]:
        pids = {part: set(self._service.pids(text)) for part, text in PARTS.items()}
        pids["haproxy"] = {pid for pid in pids["haproxy"] if pid not in pids["intake"]}
        known = set().union(*pids.values())
        pids["redis"] = set(self._service.redis_pids())
        pids["ray"] = set(self._service.all_pids()) - known - pids["redis"]
        return pids


def pss_mib(pids: Iterable[int]) -> float:
    """Return the memory of these processes in MiB. A page that processes share is divided among them."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024
