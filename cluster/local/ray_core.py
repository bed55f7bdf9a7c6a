"""The core processes of a private Ray: whether they run, and what `up` does when one of them has ended.

Without the raylet, Ray starts no process again. Without the GCS, nobody learns where an actor is. The actors that are
left still serve, so nobody would notice before the next of them dies. Ray starts neither of the two again, and `up`
cannot do it in place. So `up` ends, and whoever started `up` starts it again.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from cluster.local.foreground import say
from cluster.local.state_directory import processes_of

CORE_OF_RAY = ("gcs_server", "raylet")
"""Ray's core processes. Without them nothing of Ray can be stopped cleanly, because calls of Ray never return."""

LOOK_S = 1.0


def core_of(marker: str) -> dict[str, int]:
    """Return the core processes that run in the Ray whose environment carries `marker`, as name → process id."""
    programs = {pid: command.split(" ", 1)[0] for pid, command in processes_of(marker).items()}
    return {name: pid for pid, program in programs.items() for name in CORE_OF_RAY if name in program}


def core_runs(marker: str) -> bool:
    """Return True if all core processes of the Ray whose environment carries `marker` run."""
    return len(core_of(marker)) == len(CORE_OF_RAY)


def has_ended(pid: int) -> bool:
    """Return True if the process has surely ended. A process that has ended, and was not waited for, has no command
    line. If the command line cannot be read for another reason, such as too many open files, the result is False.
    """
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:
        return False


class CoreWatch:
    """Notices that a core process of one installation's Ray has ended. `fault` then says which one, as a sentence."""

    def __init__(self, marker: str) -> None:
        """Watch the processes whose environment carries `marker`."""
        self._marker, self._looked_s, self._pids = marker, 0.0, dict[str, int]()
        self.fault = ""

    def ended(self, now_s: float) -> bool:
        """Return True, and say it once, if a core process has ended. If processes cannot be looked at, return False.

        Within `LOOK_S` of the last look nothing is read.
        """
        if not self.fault and now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            with contextlib.suppress(OSError):
                self._pids = self._pids or core_of(self._marker)
                self._tell([name for name in CORE_OF_RAY if name not in self._pids or has_ended(self._pids[name])])
        return bool(self.fault)

    def _tell(self, missing: list[str]) -> None:
        if missing:
            self.fault = (
                f"Ray's {' and '.join(missing)} ended, and without it no process that dies is started again."
                " This installation stops; start it again. Accepted notifications are kept"
            )
            say(self.fault)
