"""Posts a steady load, breaks something in the middle, and judges the run."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable

from cluster.local.service import Service
from cluster.rehearsal.drills.catalogue import Drill
from cluster.rehearsal.drills.play import Run, Window, perform

RATE = 50.0


def under_load(
    service: Service,
    fault: Callable[[], None],
    seconds: float = 8.0,
    drain_s: float = 40.0,
    *,
    rate: float = RATE,
    repeats: tuple[str, ...] = (),
    wakes: bool = False,
    on_unknown: str = "resend",
) -> Run:
    """Post `rate` triggers a second, call `fault` after 3 s, wait for the deliveries, and return the judged run.

    `repeats` and `wakes` mean the same as in `cluster.rehearsal.drills.catalogue.Drill`. If `fault` stops a process, it
    must also let the process continue. Under `hold` the wait for deliveries is shorter, because some messages are held
    and never delivered.
    """

    def script(faults: list[Window]) -> None:
        time.sleep(3.0)
        began_s = time.time()
        drill = Drill("test", "", 0, lambda _: None, repeats=repeats, wakes=wakes)
        fault()
        ended_s = time.time()
        faults.append(Window(drill, began_s, began_s if wakes else ended_s, ended_s))

    return perform(
        service,
        rate,
        seconds,
        script,
        drain_s=drain_s if on_unknown == "resend" else drain_s / 3,
        on_unknown=on_unknown,
    )


def kill(pids: list[int], number: signal.Signals = signal.SIGKILL) -> None:
    assert pids, "nothing to kill: the process was not found"
    for pid in pids:
        os.kill(pid, number)


def wait_for(condition: Callable[[], bool], seconds: float) -> float:
    """Wait until `condition` holds and return the seconds that it took. Raises AssertionError after `seconds`."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if condition():
            return time.monotonic() - began
        time.sleep(0.05)
    raise AssertionError(f"did not hold within {seconds} s")


def intake_servers(configuration: str) -> set[str]:
    """Return the names of the intake replicas that a configuration of HAProxy names.

    If none of them lives, HAProxy still gets answers from Serve's own proxy, so an answer proves nothing about them.
    """
    return set(re.findall(r"^\s*server (SERVE_REPLICA_intake\S+)", configuration, re.MULTILINE))
