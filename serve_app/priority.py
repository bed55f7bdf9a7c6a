"""Sets the priority of all threads of this process.

On Linux each thread has its own priority, and Ray's threads are started before our code.
"""

from __future__ import annotations

import contextlib
import os


def set_niceness(niceness: int) -> None:
    """Set the niceness of every thread of this process.

    If raising the priority is not allowed, the priority stays as it is.
    """
    try:
        threads = [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        threads = [0]
    for thread in threads:
        with contextlib.suppress(OSError):  # it has ended, or may not be raised
            os.setpriority(os.PRIO_PROCESS, thread, niceness)
