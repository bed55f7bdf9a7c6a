"""How long processes of this machine waited for a core: what Linux counts in /proc for each thread."""

from __future__ import annotations

from pathlib import Path


class RunQueue:
    """Answers what has passed since it was asked last, so that it holds the counters of whom it was asked about."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._seen: dict[int, dict[str, int]] = {}

    def waited_ms(self, pid: int) -> float:
        """Return the wait of its longest-waiting thread since the last question; 0 the first time, or if unknown."""
        now = self._counters(pid)
        before = self._seen.pop(pid, {})
        if now:
            self._seen[pid] = now
        if len(self._seen) > 1000:
            self._seen.pop(next(iter(self._seen)))
        waited_ns = [ns - before[thread] for thread, ns in now.items() if thread in before]
        return max(waited_ns, default=0) / 1e6

    def _counters(self, pid: int) -> dict[str, int]:
        """Thread → nanoseconds on a run queue, ever: the second figure of its `schedstat`."""
        found: dict[str, int] = {}
        try:
            for thread in (self._proc / str(pid) / "task").iterdir():
                found[thread.name] = int((thread / "schedstat").read_text().split()[1])
        except (OSError, LookupError, ValueError):
            return {}  # it has ended, or this is no Linux, or one that does not count
        return found
