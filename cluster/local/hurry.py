"""A start from nothing hurries: nobody is at work yet whom its processes could disturb.

Ray gives every worker the low priority that suits an actor which starts beside others (`ray_settings.START_NICENESS`).
While everything starts, a thread raises our processes again and again; afterwards dispatch gives way.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from cluster.local.state_directory import give_way, processes_of
from serve_app.shells import DISPATCH_NICENESS

LOOK_S = 0.5
DISPATCH = ("ServeReplica:vendor-",)


@contextlib.contextmanager
def hurried(marker: str, may: bool) -> Iterator[None]:
    """Keep every process of ours at niceness 0 meanwhile. `may`: raising is allowed; else it does nothing."""
    if not may:
        yield
        return
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_S):
            for pid in processes_of(marker):
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    for thread in os.listdir(f"/proc/{pid}/task"):
                        os.setpriority(os.PRIO_PROCESS, int(thread), 0)

    thread = threading.Thread(target=look, name="hurry", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        give_way(marker, DISPATCH, DISPATCH_NICENESS)
