"""Raises the priority of our processes while everything starts.

Ray starts every worker with a low priority (`ray_settings.START_NICENESS`), because a new actor must not disturb the
actors that already work. When the whole service starts, there are no such actors. So a thread raises the priority of
our processes again and again until the start is over. Then the vendor actors get their usual low priority.
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
    """Keep every process of ours at niceness 0 inside the `with` block, then lower the priority of the vendor actors.

    `may` says whether this machine allows raising a priority. If it is False, nothing is done.
    """
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
