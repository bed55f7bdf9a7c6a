"""Kills and freezes processes of a whole service for benchmarks, and draws from a seed which process, how and when.

A frozen process is stopped by SIGSTOP, and continues after some seconds (SIGCONT). Ray's own core (the raylet and the
GCS) is not among the parts: `up` ends with it, as docs/faults.md says.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.callers import Callers
from benchmarks.patience import Patience
from benchmarks.whole_service import bodies, drained
from cluster.local.service import Service
from cluster.rehearsal.checkouts import Checkout
from cluster.rehearsal.drills.play import is_held
from cluster.rehearsal.load import Posted

PARTS: Mapping[str, Callable[[Service], list[int]]] = {
    "intake replica": lambda service: service.pids("ServeReplica:intake"),
    "vendor actor": lambda service: service.pids("ServeReplica:vendor-"),
    "supervisor": lambda service: service.pids("ServeReplica:supervisor"),
    "Serve controller": lambda service: service.pids("ray::ServeController"),
    "HAProxy": Service.haproxy_pids,
    "Redis": Service.redis_pids,
}
"""The parts of a service that are killed and frozen, and how their processes are found."""

KILLED, FROZEN = "killed", "frozen"
PAIRS = tuple((part, kind) for part in PARTS for kind in (KILLED, FROZEN))

FROZEN_S = (2.0, 4.0)
"""A process is frozen for at least and at most so many seconds. `up` itself ends a replica that is stopped for 6 s."""

EVERY_S = (4.0, 9.0)
"""The least and the most seconds between two faults of `draw_kills`. A process has continued before the next fault."""

LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Fault:
    """One process is killed or frozen, `at_s` seconds after the beginning of a start or of the load.

    `part` is one of `PARTS`, and `kind` is `KILLED` or `FROZEN`. A frozen process continues after `frozen_s` seconds.
    """

    part: str
    kind: str
    at_s: float
    frozen_s: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.part} {self.kind}"


def draw_starts(chance: random.Random, births_s: Mapping[str, float], length_s: float, count: int) -> list[Fault]:
    """Draw one fault for each of `count` starts.

    `births_s` says for each part how many seconds after the beginning of a start it first runs. A start lasts
    `length_s` seconds. If `count` allows it, each part is killed and frozen at least once, and each second of a start
    in which any part runs is the moment of a fault at least once. No fault is drawn before its part runs.
    """
    first, last = math.floor(min(births_s.values())), math.floor(max(births_s.values()))
    every = list(range(first, max(math.ceil(length_s), last + 1)))
    late = [second for second in every if second >= last]
    seconds = every + chance.choices(late, k=max(0, count - len(every)))
    seconds = chance.sample(seconds, count)
    pairs = sorted(chance.sample(PAIRS, min(count, len(PAIRS))), key=lambda pair: -births_s[pair[0]])
    found, used = [], Counter(part for part, _ in pairs)
    for pair in pairs:  # what runs last has the fewest seconds to choose from, so it chooses first
        fits = [second for second in seconds if second + 1 > births_s[pair[0]]]
        seconds.remove(second := chance.choice(fits or seconds))
        found.append((*pair, second))
    for second in seconds:
        fits_parts = [part for part in PARTS if second + 1 > births_s[part]]
        part = min(fits_parts, key=lambda part: (used[part], chance.random()))
        used[part] += 1
        found.append((part, chance.choice((KILLED, FROZEN)), second))
    chance.shuffle(found)
    return [_fault(chance, part, kind, _within(chance, second, births_s[part])) for part, kind, second in found]


def _within(chance: random.Random, second: int, birth_s: float) -> float:
    """Return a moment in this second of a start, after `birth_s` if the second is not over then.

    The moment is rounded to milliseconds later, and must not become the next second.
    """
    return chance.uniform(max(second, birth_s) if birth_s < second + 1 else second, second + 0.999)


def draw_kills(chance: random.Random, seconds: float) -> list[Fault]:
    """Draw faults for a load of `seconds`, one every `EVERY_S` seconds.

    All pairs of part and kind are drawn once, in random order, before any is drawn again. After the last fault there is
    time for the longest freeze.
    """
    found, deck = list[Fault](), list[tuple[str, str]]()
    at_s = chance.uniform(*EVERY_S)
    while at_s < seconds - EVERY_S[0]:
        deck = deck or chance.sample(PAIRS, len(PAIRS))
        found.append(_fault(chance, *deck.pop(), at_s))
        at_s += chance.uniform(*EVERY_S)
    return found


def _fault(chance: random.Random, part: str, kind: str, at_s: float) -> Fault:
    return Fault(part, kind, round(at_s, 3), round(chance.uniform(*FROZEN_S), 3) if kind == FROZEN else 0.0)


def play(service: Service, fault: Fault, chance: random.Random, until_s: float) -> float | None:
    """Kill one process of the fault's part, or freeze it and let it continue. Return when it was hit.

    If no process of this part runs, wait for one until `until_s`, then return None. Both times are epoch seconds.
    """
    while not (pids := PARTS[fault.part](service)):
        if time.time() > until_s:
            return None
        time.sleep(LOOK_S)
    pid, hit_s = chance.choice(sorted(pids)), time.time()
    with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(pid, signal.SIGKILL if fault.kind == KILLED else signal.SIGSTOP)
    if fault.kind == FROZEN:
        try:
            time.sleep(fault.frozen_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    return hit_s


def births(service: Service, began_s: float, over: Callable[[], bool]) -> dict[str, float]:
    """Watch a start until `over()` is true. Return for each part that appeared how many seconds after `began_s`."""
    found: dict[str, float] = {}
    while not over():
        for part in PARTS:
            if part not in found and PARTS[part](service):
                found[part] = round(time.time() - began_s, 2)
        time.sleep(2 * LOOK_S)
    return found


# ---- callers and verdict


def patient_callers(service: Service, rate_per_s: float, seed: int, on_unknown: str) -> Callers:
    """Return callers that post to the service at a steady rate and repeat as docs/api.md asks.

    `seed` draws their waits. `on_unknown` is the policy for unknown outcomes of their triggers.
    """
    patience = Patience(random.Random(seed))
    return Callers([service.api], rate_per_s, orders(on_unknown), roam=False, patience=patience)


def orders(on_unknown: str) -> Callable[[int], tuple[str, Checkout]]:
    """Return the function that makes the n-th trigger of the callers, under this policy for unknown outcomes."""
    return lambda n: next(under(on_unknown, bodies(1, n)))


def under(on_unknown: str, checkouts: Sequence[tuple[str, Checkout]]) -> Iterator[tuple[str, Checkout]]:
    for key, body in checkouts:
        asked: Checkout = {**body, "on_unknown": on_unknown}  # type: ignore[typeddict-unknown-key]
        yield key, asked


def outcome(service: Service, posted: Sequence[Posted], on_unknown: str) -> dict[str, int]:
    """Wait for the deliveries, and count what was accepted, lost, repeated and held.

    Under `resend` a kill may repeat what was in flight. Under `hold` each repeat is one without an explanation, and a
    notification that was maybe sent is held instead.
    """
    verdict = drained(service, posted)
    held = [name for name in verdict.lost if on_unknown == "hold" and is_held(service, name)]
    found = {
        "triggers": len(posted),
        "accepted": verdict.accepted,
        "never_accepted": verdict.unacknowledged,
        "lost": len(verdict.lost) - len(held),
        "repeated": verdict.repeats,
        "held": len(held),
    }
    return found | ({"unexplained": verdict.repeats} if on_unknown == "hold" else {})
