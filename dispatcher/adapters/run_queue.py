"""Reads from /proc how long threads of this machine's processes were ready to run and waited for a core."""

from __future__ import annotations

from pathlib import Path


class RunQueue:
    """Measures how long a process waited for a core between two calls of `waited_ms`."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._seen: dict[int, dict[str, int]] = {}

    def waited_ms(self, pid: int) -> float:
        """Return for how many milliseconds the process `pid` has waited for a core since the previous call.

        The thread that waited the longest counts. The result is 0 at the first call and if nothing is known of the
        process.
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
        """Return each thread's total nanoseconds of waiting, which is the second number of its `schedstat`."""
        found: dict[str, int] = {}
        try:
            for thread in (self._proc / str(pid) / "task").iterdir():
                found[thread.name] = int((thread / "schedstat").read_text().split()[1])
        except (OSError, LookupError, ValueError):
            return {}  # the process has ended, or this system has no such counters
        return found
