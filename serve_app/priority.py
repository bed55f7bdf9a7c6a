"""The priority of this process, thread by thread: Linux has one for each, and Ray's threads are there before ours."""

from __future__ import annotations

import contextlib
import os


def set_niceness(niceness: int) -> None:
    """Set the niceness of every thread. A thread with a lower priority keeps it where raising is not allowed."""
    try:
        threads = [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        threads = [0]
    for thread in threads:
        with contextlib.suppress(OSError):  # it has ended, or may not be raised
            os.setpriority(os.PRIO_PROCESS, thread, niceness)
