"""Reads how long processes of this machine waited for a core: Linux counts it in /proc for each thread."""

from __future__ import annotations

from pathlib import Path


class RunQueue:
    """Answers how long a process has waited since the last question about it, so it keeps that process's counters."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._seen: dict[int, dict[str, int]] = {}

    def waited_ms(self, pid: int) -> float:
        """Return for how long that thread of the process which waited most has waited for a core since the last call.

        It is 0 at the first call, and if nothing is known of the process.
        """
        now = self._counters(pid)
        before = self._seen.pop(pid, {})
        if now:
            self._seen[pid] = now
        if len(self._seen) > 1000:
            self._seen.pop(next(iter(self._seen)))
        waited_ns = [ns - before[thread] for thread, ns in now.items() if thread in before]
        return max(waited_ns, default=0) / 1e6

    def _counters(self, pid: int) -> dict[str, int]:
        """Return the total nanoseconds on a run queue of each thread: the second figure of its `schedstat`."""
        found: dict[str, int] = {}
        try:
            for thread in (self._proc / str(pid) / "task").iterdir():
                found[thread.name] = int((thread / "schedstat").read_text().split()[1])
        except (OSError, LookupError, ValueError):
            return {}  # it has ended, or this is no Linux, or one that does not count
        return found
