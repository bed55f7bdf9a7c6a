"""Load with a fault in the middle: post steadily, break something, mend it, wait until all is delivered, judge."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cluster.local.service import Service
from cluster.rehearsal.checkouts import checkouts
from cluster.rehearsal.demo import drained
from cluster.rehearsal.drills.catalogue import Drill, draw
from cluster.rehearsal.load import Posted, post_steadily
from cluster.rehearsal.verdict import Verdict

STEADY_S = 4.0
AFTER_S = 8.0
DRAIN_S = 60.0
CALL_S, SETTLE_S, BUSY_S = 0.05, 0.1, 0.35
"""A sandbox vendor's call, the settle interval, and the share of a busy machine: its clocks, and whose turn it is."""
WAKES_MAX = 1
"""An actor that wakes calls no vendor before it knows that it is live, except one call that was its turn already."""
AROUND_S = 10.0
"""Seconds that draining, judging and the return to the steady state take in most drills."""
_start = itertools.count(1, 100_000)
_given: set[str] = set()
"""Every order number given out: what a vendor received beside these, nobody posted."""


def fresh_checkouts(count: int, **fields: str) -> list[tuple[str, dict[str, Any]]]:
    """Return `count` checkouts, at most 100,000, with order numbers that this process has not used before.

    `fields` are added to each body.
    """
    found = checkouts(count, start=next(_start))
    _given.update(key for key, _ in found)
    return [(key, {**body, **fields}) for key, body in found]


def judged(service: Service, posted: list[Posted], drain_s: float = DRAIN_S) -> Verdict:
    """Wait for the drain and judge these posts alone, though the vendors' ledgers also hold those of earlier ones."""
    verdict = drained(service, posted, drain_s)
    keys = {p.key for p in posted}
    verdict.unexpected = [name for name in verdict.unexpected if name.split("/")[0] not in _given]
    verdict.duplicated = {n: c for n, c in verdict.duplicated.items() if n.split("/")[0] in keys}
    verdict.copies = {n: c for n, c in verdict.copies.items() if n in verdict.duplicated}
    return verdict


@dataclass(frozen=True, slots=True)
class Window:
    """When a fault was there. Epoch seconds; `hit_s`: what it kills, stops or breaks is so by then."""

    drill: Drill
    began_s: float
    hit_s: float
    ended_s: float


@dataclass(slots=True)
class Run:
    """A drill that was played: what was posted, what was broken when, and what the vendors received."""

    posted: list[Posted]
    faults: list[Window]
    verdict: Verdict
    on_unknown: str = "resend"
    held: list[str] = field(default_factory=list)  # never received, and the service says so: maybe sent, never again
    began_s: float = field(default_factory=time.time)
    rate_per_s: float = 100.0  # of triggers: as many notifications on each channel

    @property
    def fault_s(self) -> float:
        return self.faults[0].began_s

    def unexplained(self) -> list[str]:
        """Repeated notifications, each as often as no fault explains it.

        A fault explains one repeat of a notification, if a vendor that it befell (`Drill.repeats`) had it
        - just before: within a call, the settle interval and `BUSY_S` it may have been unsettled;
        - on its way then: received a call and `BUSY_S` later at most;
        - on its way while the caller slept: received once more on waking, `WAKES_MAX` of them.
        Of no channel more than came in so long: what is beyond that was not in flight.
        """
        left = {name: len(copies) - 1 for name, copies in self.verdict.copies.items()}
        for window in self.faults:
            for names, most in self._excuses(window):
                used: Counter[str] = Counter()
                for name in names:
                    channel = name.rpartition("/")[2]
                    if left[name] and used[channel] < most:
                        used[channel] += 1
                        left[name] -= 1
        return [name for name, count in left.items() for _ in range(count)]

    def _excuses(self, window: Window) -> list[tuple[list[str], int]]:
        """Return, for each reason, the repeats that it explains and how many it may explain."""
        most = math.ceil(self.rate_per_s * (CALL_S + SETTLE_S + BUSY_S))
        unsettled_s = window.began_s - CALL_S - SETTLE_S - BUSY_S
        found = [(self._copied(window, unsettled_s, window.hit_s, slice(None, -1)), most)]
        if window.drill.wakes:
            found.append((self._copied(window, window.ended_s - BUSY_S, window.ended_s, slice(1, None)), WAKES_MAX))
        return found

    def _copied(self, window: Window, from_s: float, to_s: float, which: slice) -> list[str]:
        """Return what a vendor of the fault received in that time, or one call later, as a permitted copy."""
        to_s += CALL_S + BUSY_S
        vendors = window.drill.repeats
        return [
            name
            for name, copies in self.verdict.copies.items()
            if any(vendor in vendors and from_s <= at_s <= to_s for at_s, vendor in copies[which])
        ]


def perform(
    service: Service,
    rate: float,
    seconds: float,
    script: Callable[[list[Window]], None],
    *,
    drain_s: float = DRAIN_S,
    on_unknown: str = "resend",
) -> Run:
    """Post `rate` triggers a second (an SMS and an e-mail each) for `seconds` while `script` breaks and mends."""
    bodies = fresh_checkouts(int(rate * seconds), on_unknown=on_unknown)
    faults: list[Window] = []
    began_s = time.time()

    async def run() -> list[Posted]:
        broken = asyncio.ensure_future(asyncio.to_thread(script, faults))
        posted = await post_steadily(service.api, bodies, rate)
        await broken
        return posted

    posted = asyncio.run(run())
    verdict, held = judged(service, posted, drain_s), list[str]()
    if on_unknown == "hold":
        held = [name for name in verdict.lost if is_held(service, name)]
        verdict.lost = [name for name in verdict.lost if name not in held]
    return Run(posted, faults, verdict, on_unknown, held, began_s, rate)


def is_held(service: Service, name: str) -> bool:
    key, _, channel = name.partition("/")
    found = service.get(f"/v1/triggers?idempotency_key={key}")
    return any(n["channel"] == channel and n["state"] == "held" for n in found["notifications"])


def play(service: Service, drill: Drill, rate: float, on_unknown: str = "resend") -> Run:
    """One drill: a steady state, the fault, and the time after it."""

    def script(faults: list[Window]) -> None:
        time.sleep(STEADY_S)
        _break(service, drill, drill.seconds, faults)

    return perform(
        service,
        rate,
        STEADY_S + drill.seconds + AFTER_S,
        script,
        drain_s=_patience_s(on_unknown),
        on_unknown=on_unknown,
    )


def duration_s(drill: Drill) -> float:
    """How long one run takes, about."""
    return STEADY_S + drill.seconds + AFTER_S + AROUND_S


def _patience_s(on_unknown: str) -> float:
    """Return how long to wait for a delivery. A held message never comes, so its wait is shorter."""
    return DRAIN_S if on_unknown == "resend" else DRAIN_S / 3


def storm(service: Service, rate: float, minutes: float, every_s: float, *, seed: int, on_unknown: str) -> Run:
    """A random fault of `faults.STORM` every `every_s`; each is mended after at most half of that.

    Left out are what ends everything or the one ingress, and what cannot show in so short a time (`faults.NO_STORM`).
    """
    chance = random.Random(seed)

    def script(faults: list[Window]) -> None:
        end_s = time.time() + minutes * 60 - every_s
        while time.time() < end_s:
            began_s = time.time()
            drill = draw(chance)
            _break(service, drill, min(drill.seconds, every_s / 2), faults)
            time.sleep(max(0.0, every_s - (time.time() - began_s)))

    return perform(service, rate, minutes * 60, script, drain_s=_patience_s(on_unknown), on_unknown=on_unknown)


def _break(service: Service, drill: Drill, seconds: float, faults: list[Window]) -> None:
    began_s = time.time()
    drill.begin(service)
    hit_s = time.time()
    try:
        time.sleep(seconds)
    finally:
        drill.end(service)
        faults.append(Window(drill, began_s, hit_s, time.time()))
