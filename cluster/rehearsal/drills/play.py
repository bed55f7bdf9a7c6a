"""Plays a drill: posts steadily, breaks something, repairs it, waits for the deliveries, and judges the result."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from cluster.local.service import Service
from cluster.rehearsal.checkouts import checkouts
from cluster.rehearsal.demo import drained
from cluster.rehearsal.drills.catalogue import Drill, draw
from cluster.rehearsal.load import Posted, post_steadily
from cluster.rehearsal.verdict import Verdict
from dispatcher.core.json_object import JsonObject

STEADY_S = 4.0
AFTER_S = 8.0
DRAIN_S = 60.0
CALL_S, SETTLE_S, BUSY_S = 0.05, 0.1, 0.35
"""Three times in seconds: a call of a sandbox vendor, the settle interval, and the delay on a busy machine.

The delay covers clocks that differ, and processes that wait for a core.
"""
WAKES_MAX = 1
"""How many calls an actor that wakes may make before it knows whether it is still live.

This is the one call that was ready to start when the actor was stopped.
"""
AROUND_S = 10.0
"""The seconds that draining, judging and the return to the steady state take in most drills."""
_start = itertools.count(1, 100_000)
_given: set[str] = set()
"""Every order number that this process has posted. Any other order that a vendor received was never posted."""


def fresh_checkouts(count: int, **fields: str) -> list[tuple[str, JsonObject]]:
    """Return `count` checkouts, at most 100,000, with order numbers that this process has not used before.

    `fields` are added to each body.
    """
    found = checkouts(count, start=next(_start))
    _given.update(key for key, _ in found)
    return [(key, {**body, **fields}) for key, body in found]


def judged(service: Service, posted: list[Posted], drain_s: float = DRAIN_S) -> Verdict:
    """Wait until everything is delivered, then judge only the triggers in `posted`.

    The vendors' records also hold deliveries of earlier drills. These deliveries are left out of the verdict.
    """
    verdict = drained(service, posted, drain_s)
    keys = {p.key for p in posted}
    verdict.unexpected = [name for name in verdict.unexpected if name.split("/")[0] not in _given]
    verdict.duplicated = {n: c for n, c in verdict.duplicated.items() if n.split("/")[0] in keys}
    verdict.copies = {n: c for n, c in verdict.copies.items() if n in verdict.duplicated}
    return verdict


@dataclass(frozen=True, slots=True)
class Window:
    """The time of one fault, in epoch seconds.

    From `began_s` to `hit_s` the drill starts the fault. At `hit_s` every process that the fault kills or stops has
    been killed or stopped.
    """

    drill: Drill
    began_s: float
    hit_s: float
    ended_s: float


@dataclass(slots=True)
class Run:
    """The record of a drill that was played: what was posted, when something was broken, and what the vendors
    received.
    """

    posted: list[Posted]
    faults: list[Window]
    verdict: Verdict
    on_unknown: str = "resend"
    held: list[str] = field(default_factory=list)  # never received, and held by the service as maybe sent
    began_s: float = field(default_factory=time.time)
    rate_per_s: float = 100.0  # triggers a second, each with one notification on each channel

    @property
    def fault_s(self) -> float:
        return self.faults[0].began_s

    def unexplained(self) -> list[str]:
        """Return the repeated notifications that no fault explains. A name appears once for each unexplained repeat.

        `repeats` of a drill names the vendors whose repeats its fault may explain. The fault explains one repeat of a
        notification if such a vendor received the notification at one of these times:

        - Shortly before the fault, when the notification may have been sent but not yet settled. This time is as long
          as a call, the settle interval and `BUSY_S` together.
        - Shortly after the beginning of the fault, while the call was still open. This time is as long as a call and
          `BUSY_S` together.
        - When a stopped vendor actor continues. At most `WAKES_MAX` of these repeats are explained.

        For the first two times, the number of explained repeats per channel is limited to the number of notifications
        that can have been unsettled then.
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
        """Return a pair for each reason by which the fault `window` may explain repeats.

        The pair has the repeated notifications that the reason may explain, and how many of them it may explain at
        most.
        """
        most = math.ceil(self.rate_per_s * (CALL_S + SETTLE_S + BUSY_S))
        unsettled_s = window.began_s - CALL_S - SETTLE_S - BUSY_S
        found = [(self._copied(window, unsettled_s, window.hit_s, slice(None, -1)), most)]
        if window.drill.wakes:
            found.append((self._copied(window, window.ended_s - BUSY_S, window.ended_s, slice(1, None)), WAKES_MAX))
        return found

    def _copied(self, window: Window, from_s: float, to_s: float, which: slice) -> list[str]:
        """Return the repeated notifications that the fault of `window` may explain, because an affected vendor received
        a copy in time.

        The affected vendors are those in the drill's `repeats`. The time begins at `from_s`. It ends later than `to_s`,
        by the longest time of one call plus `BUSY_S`. `which` selects the copies of each notification that count, for
        example all except the last.
        """
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
    """Post `rate` triggers a second for `seconds` while `script` breaks and repairs things. Return the judged run.

    Each trigger means an SMS and an e-mail. `script` appends a `Window` for each fault.
    """
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
    """Play one drill: a steady state, then the fault, then some time after it."""

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
    """Return about how many seconds one run of the drill takes."""
    return STEADY_S + drill.seconds + AFTER_S + AROUND_S


def _patience_s(on_unknown: str) -> float:
    """Return how many seconds to wait for deliveries. With `hold` this is less, because a held message never comes."""
    return DRAIN_S if on_unknown == "resend" else DRAIN_S / 3


def storm(service: Service, rate: float, minutes: float, every_s: float, *, seed: int, on_unknown: str) -> Run:
    """Play a random fault of `catalogue.STORM` every `every_s` seconds, and return the run.

    Each fault is repaired after at most half of `every_s`. `catalogue.NO_STORM` says which drills are never drawn, and
    why.
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
