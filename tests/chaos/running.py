"""Load with something killed in the middle, and the judgement of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from cluster.drills.faults import Drill
from cluster.drills.play import Run, Window, perform
from cluster.service import Service

RATE = 50.0


def under_load(
    service: Service, fault: Callable[[], None], seconds: float = 8.0, drain_s: float = 40.0, rate: float = RATE
) -> Run:
    """Post `rate` triggers a second, call `fault` after 3 s, wait until everything acknowledged is delivered; judge."""

    def script(faults: list[Window]) -> None:
        time.sleep(3.0)
        began_s = time.time()
        faults.append(Window(Drill("test", "", 0, lambda _: None, kills=True), began_s, began_s))
        fault()

    return perform(service, rate, seconds, script, drain_s)


def kill(pids: list[int], number: signal.Signals = signal.SIGKILL) -> None:
    assert pids, "nothing to kill: the process was not found"
    for pid in pids:
        os.kill(pid, number)


def wait_for(condition: Callable[[], bool], seconds: float) -> float:
    """Seconds until `condition` holds; AssertionError when it does not in time."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if condition():
            return time.monotonic() - began
        time.sleep(0.05)
    raise AssertionError(f"did not hold within {seconds} s")
