"""The choice of the pools that may grow: their actors are the limit, and a core is free for another one.

Rules:

1. A pool asks for more actors only if its present actors are the limit. Actors are the limit if nearly all of their
   allowed calls are in flight, or if each actor keeps a core nearly busy. A backlog for another reason (Redis, permits,
   a rate) is no reason to grow.
2. A node has room for an actor if it has as many free cores as one actor of that pool uses, and at least `START_CORES`.
   On a full machine, a process that starts takes cores from the actors at work.
3. A node starts as many actors at once as it has whole free cores, and at least one. A planned actor that has not
   reported yet counts as starting for `START_MS_MAX`, even if it replaces another actor.
4. On a full machine, a pool that is larger than useful gives up one actor. The useful size follows from its calls in
   flight and from the CPU time that it gets. Idle pools shrink by themselves (`sizing`).
5. If a pool's actors are the limit and no node has room, the plan names the pool: the machine is full.
6. If cores are not measured, rules 2 to 5 do not apply, and every pool gets what it asks for.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

START_CORES = 0.3
"""The fewest free cores for a start. A start needs 3 s of CPU time.

With fewer free cores it lasts ten seconds, and slows the actors at work.
"""

START_MS_MAX = 60_000
"""The time in milliseconds after which a planned actor that has not reported no longer keeps others from starting."""

FULL_CORES = 0.1
"""The number of free cores that a node must have. If no node has it, the machine is full."""

AGAIN_CORES = 0.25
"""How many more cores must be free before a full machine has room again.

Without it, each short pause would cause a new plan.
"""

FULL_MS = 5000
"""The shortest time in milliseconds for which a machine stays full. Each change causes a new plan for every process."""

LIMITED = 0.8
"""An actor is the limit if this share of its allowed calls is in flight, or if it uses this share of a core."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One pool as its actors report it.

    Attributes:
        wanted: how many actors the pool asks for.
        live: how many actors have reported.
        least: the configured minimum of actors.
        planned: how many actors the previous plan has for it.
        in_flight: the calls in flight of all its actors together.
        concurrency: how many calls one actor may have in flight.
        cpu: the number of cores that each actor uses.
        waiting: for how many seconds of each second each actor waited for a core.
    """

    name: str
    wanted: int
    live: int
    least: int
    planned: int = 0
    in_flight: float = 0.0
    concurrency: int = 64
    cpu: Sequence[float] = ()
    waiting: Sequence[float] = ()

    @property
    def limited(self) -> bool:
        """Return True if more actors could send more: the present ones use all their calls or all their CPU time."""
        if not self.live:
            return False
        busy = sum(self.cpu) + sum(self.waiting)
        return self.in_flight >= LIMITED * self.concurrency * self.live or busy >= LIMITED * self.live

    @property
    def cost(self) -> float:
        """Return how many cores one more actor will use, estimated from the present actors."""
        return max(START_CORES, sum(self.cpu) / len(self.cpu) if self.cpu else 0.0)

    @property
    def useful(self) -> int:
        """Return the number of actors that the pool can keep busy with its calls in flight and the CPU time that it
        gets.
        """
        return max(
            *(self.least, 1),
            math.ceil(self.in_flight / (LIMITED * self.concurrency)),
            math.ceil(sum(self.cpu) / LIMITED),
        )


class Sizes(NamedTuple):
    """The planned number of actors of each pool.

    `full` names the pools that cannot grow because of a full machine (rule 5).
    """

    actors: dict[str, int]
    full: tuple[str, ...]


def allot(
    pools: Iterable[Pool], free_cores: Mapping[str, float], starting: int, full_before: Collection[str] = ()
) -> Sizes:
    """Return the planned number of actors of each pool.

    `free_cores` gives the free cores of each node. `starting` is how many actors are starting on all nodes together.
    `full_before` names the pools that found no free core for a further actor in the previous plan (`Plan.full`).
    """
    found = {pool.name: pool for pool in pools}
    if not free_cores:
        return Sizes({name: pool.wanted for name, pool in found.items()}, ())
    nodes, is_full = dict(free_cores), max(free_cores.values()) < FULL_CORES
    sizes = {name: _without_growth(pool, is_full) for name, pool in found.items()}
    slots = sum(max(1, int(free)) for free in nodes.values() if free >= START_CORES) - starting
    full: list[str] = []
    asking = [pool for pool in found.values() if pool.wanted > sizes[pool.name] and pool.live]
    for pool in sorted(asking, key=lambda p: (-p.wanted / p.live, p.name)):
        was_full = pool.name in full_before
        if not (pool.limited or was_full):
            continue
        node = max(nodes, key=lambda name: nodes[name])
        if nodes[node] < pool.cost + (AGAIN_CORES if was_full else 0.0):
            if pool.planned <= pool.live:  # while an actor starts, the start itself uses the core
                full.append(pool.name)
        elif slots > 0:
            sizes[pool.name] += 1
            nodes[node] -= max(1.0, pool.cost)
            slots -= 1
    return Sizes(sizes, tuple(sorted(full)))


def _without_growth(pool: Pool, is_full: bool) -> int:
    """Return the size of a pool that may not grow now: its live actors, and the starting ones if they are still wanted.

    If `is_full`, no node has room for an actor. A pool that is larger than useful then gives up one actor (rule 4).
    """
    kept = min(pool.wanted, max(pool.live, pool.planned, pool.least))
    if is_full and pool.planned <= pool.live and pool.useful < pool.live:
        kept = min(kept, pool.live - 1)
    return max(pool.least, kept)


def count_starting(pools: Iterable[Pool], sized_ms: Mapping[str, int], now_ms: int) -> int:
    """Return how many planned actors have not reported yet.

    `sized_ms` is when the planned number of each pool last changed.
    """
    return sum(
        max(0, max(pool.planned, pool.least) - pool.live)
        for pool in pools
        if now_ms - sized_ms.get(pool.name, now_ms) < START_MS_MAX
    )
