"""Load with a fault in the middle: post steadily, break something, mend it, wait until all is delivered, judge."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cluster.demo import drained
from cluster.drills.faults import Drill, draw
from cluster.load import Posted, post_steadily
from cluster.people import checkouts
from cluster.service import Service
from cluster.witness import Verdict

STEADY_S = 4.0
AFTER_S = 8.0
DRAIN_S = 60.0
AROUND_S = 10.0
"""What draining, judging and the way back to the steady state take in most drills."""
_start = itertools.count(1, 100_000)
_given: set[str] = set()
"""Every order number given out: what a vendor received beside these, nobody posted."""


def fresh_checkouts(count: int, **fields: str) -> list[tuple[str, dict[str, Any]]]:
    """Checkouts with order numbers that this process has not used before, and `fields`; `count` up to 100,000."""
    found = checkouts(count, start=next(_start))
    _given.update(key for key, _ in found)
    return [(key, {**body, **fields}) for key, body in found]


def judged(service: Service, posted: list[Posted], drain_s: float = DRAIN_S) -> Verdict:
    """Wait for the drain and judge these posts alone, though the vendors' ledgers also hold those of earlier ones."""
    verdict = drained(service, posted, drain_s)
    keys = {p.key for p in posted}
    verdict.unexpected = [name for name in verdict.unexpected if name.split("/")[0] not in _given]
    verdict.duplicated = {n: c for n, c in verdict.duplicated.items() if n.split("/")[0] in keys}
    return verdict


@dataclass(frozen=True, slots=True)
class Window:
    """When a fault was there. Epoch seconds."""

    drill: Drill
    began_s: float
    ended_s: float


@dataclass(slots=True)
class Run:
    """What was posted, when what was broken, and what the vendors received."""

    posted: list[Posted]
    faults: list[Window]
    verdict: Verdict
    on_unknown: str = "resend"
    held: list[str] = field(default_factory=list)  # never received, and the service says so: maybe sent, never again
    began_s: float = field(default_factory=time.time)

    @property
    def fault_s(self) -> float:
        return self.faults[0].began_s

    def repeats_outside(self, before_s: float, after_s: float = 0.3) -> list[str]:
        """Repeated notifications that no kill explains: first delivered neither within `before_s` before one, nor until
        `after_s` after it; of what sleeps or is away, after its end, since nothing is settled meanwhile."""
        first = self.verdict.delivered_at
        spans = [
            (w.began_s - before_s, (w.ended_s if w.drill.settles_late else w.began_s) + after_s)
            for w in self.faults
            if w.drill.kills
        ]
        return [
            name
            for name in self.verdict.duplicated
            if not any(begin <= first.get(name, 0.0) <= end for begin, end in spans)
        ]


def perform(
    service: Service,
    rate: float,
    seconds: float,
    script: Callable[[list[Window]], None],
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
        held = [name for name in verdict.lost if _is_held(service, name)]
        verdict.lost = [name for name in verdict.lost if name not in held]
    return Run(posted, faults, verdict, on_unknown, held, began_s)


def _is_held(service: Service, name: str) -> bool:
    key, _, channel = name.partition("/")
    found = service.get(f"/v1/triggers?idempotency_key={key}")
    return any(n["channel"] == channel and n["state"] == "held" for n in found["notifications"])


def play(service: Service, drill: Drill, rate: float, on_unknown: str = "resend") -> Run:
    """One drill: a steady state, the fault, and the time after it."""

    def script(faults: list[Window]) -> None:
        time.sleep(STEADY_S)
        _break(service, drill, drill.seconds, faults)

    return perform(service, rate, STEADY_S + drill.seconds + AFTER_S, script, _patience_s(on_unknown), on_unknown)


def takes_s(drill: Drill) -> float:
    """How long one run takes, about."""
    return STEADY_S + drill.seconds + AFTER_S + AROUND_S


def _patience_s(on_unknown: str) -> float:
    """What is held never comes: do not wait for it as long as for what is late."""
    return DRAIN_S if on_unknown == "resend" else DRAIN_S / 3


def storm(service: Service, rate: float, minutes: float, every_s: float, seed: int, on_unknown: str) -> Run:
    """A random fault every `every_s`; each is mended after at most half of that."""
    chance = random.Random(seed)

    def script(faults: list[Window]) -> None:
        end_s = time.time() + minutes * 60 - every_s
        while time.time() < end_s:
            began_s = time.time()
            drill = draw(chance)
            _break(service, drill, min(drill.seconds, every_s / 2), faults)
            time.sleep(max(0.0, every_s - (time.time() - began_s)))

    return perform(service, rate, minutes * 60, script, _patience_s(on_unknown), on_unknown)


def _break(service: Service, drill: Drill, seconds: float, faults: list[Window]) -> None:
    began_s = time.time()
    drill.begin(service)
    try:
        time.sleep(seconds)
    finally:
        drill.end(service)
        faults.append(Window(drill, began_s, time.time()))
