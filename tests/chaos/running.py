"""Load with something killed in the middle, and the judgement of it."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from cluster.demo import drained
from cluster.load import Posted, post_steadily
from cluster.people import checkouts
from cluster.service import Service
from cluster.witness import Verdict

RATE = 50.0
_start = itertools.count(1, 10_000)


@dataclass(slots=True)
class Run:
    """What was posted, when the fault came, and what the vendors received."""

    posted: list[Posted]
    fault_s: float
    verdict: Verdict

    def repeats_outside(self, before_s: float, after_s: float = 0.3) -> list[str]:
        """Repeated notifications first delivered outside `before_s` before to `after_s` after the fault."""
        v = self.verdict
        return [
            name for name in v.duplicated if not -before_s <= v.delivered_at.get(name, 0.0) - self.fault_s <= after_s
        ]


def under_load(
    service: Service, fault: Callable[[], None], seconds: float = 8.0, drain_s: float = 40.0, rate: float = RATE
) -> Run:
    """Post `rate` triggers a second, call `fault` after 3 s, wait until everything acknowledged is delivered; judge."""
    bodies = checkouts(int(rate * seconds), start=next(_start))
    times: list[float] = []

    async def run() -> list[Posted]:
        async def later() -> None:
            await asyncio.sleep(3.0)
            times.append(time.time())
            await asyncio.to_thread(fault)

        faulting = asyncio.ensure_future(later())
        posted = await post_steadily(service.api, bodies, rate)
        await faulting
        return posted

    posted = asyncio.run(run())
    verdict = drained(service, posted, drain_s)
    keys = {p.key for p in posted}
    verdict.unexpected = [name for name in verdict.unexpected if name.split("/")[0] in keys]
    verdict.duplicated = {n: c for n, c in verdict.duplicated.items() if n.split("/")[0] in keys}
    return Run(posted, times[0], verdict)


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
