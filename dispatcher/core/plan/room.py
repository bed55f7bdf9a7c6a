"""Chooses the pools that may grow: those whose actors are the limit, and for which a core is free.

Rules:

1. A pool asks for more actors only when its own are the limit: nearly all the calls that they may have in flight are in
   flight, or each of them keeps a core nearly busy. A backlog for another reason (Redis, permits, a rate) is no reason
   to grow.
2. A node has room for an actor when it has as many free cores as one actor of that pool uses, and never less than
   `START_CORES`: a process that starts on a full machine takes its cores from the actors at work.
3. A node starts as many actors at once as it has whole free cores, and at least one. An actor that is on its way counts
   as started until `START_MS_MAX` have passed, also if it replaces another one.
4. On a full machine, a pool that is larger than useful gives one actor back. The useful size is what the calls in
   flight fill, and what the CPU time that the pool gets would keep busy. Idle pools shrink by themselves (`sizing`).
5. A pool whose actors are the limit, and for which no node has room, is named in the plan: the machine is full.
6. Where nobody measures cores, rules 2 to 5 do not apply, and every pool gets what it asks for.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

START_CORES = 0.3
"""A start needs 3 s of CPU time. With fewer free cores than this it lasts ten seconds, and slows the actors at work."""

START_MS_MAX = 60_000
"""An actor that has not come after so long no longer keeps others from starting."""

FULL_CORES = 0.1
"""The machine is full when no node has so many free cores."""

AGAIN_CORES = 0.25
"""A full machine has room again only with so many more free cores. Otherwise each short pause would be a new plan."""

FULL_MS = 5000
"""A machine stays full for at least so long, because each change of this is a new plan for every process."""

LIMITED = 0.8
"""An actor is the limit when such a share of its allowed calls is in flight, or of a core is in use."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One pool as its actors report it.

    `cpu` is the number of cores that each actor uses. `waiting` is for how many seconds of each second it waited for a
    core.
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
        """Return True if more actors could do more: the allowed calls are used up, or the actors' cores are busy."""
        if not self.live:
            return False
        busy = sum(self.cpu) + sum(self.waiting)
        return self.in_flight >= LIMITED * self.concurrency * self.live or busy >= LIMITED * self.live

    @property
    def cost(self) -> float:
        """Return the number of cores that one more actor will use, by what the present ones use."""
        return max(START_CORES, sum(self.cpu) / len(self.cpu) if self.cpu else 0.0)

    @property
    def useful(self) -> int:
        """Return how many actors the calls in flight and the CPU time of this pool keep busy."""
        return max(
            *(self.least, 1),
            math.ceil(self.in_flight / (LIMITED * self.concurrency)),
            math.ceil(sum(self.cpu) / LIMITED),
        )


class Sizes(NamedTuple):
    """The number of actors of each pool. `full` are the pools that rule 5 names."""

    actors: dict[str, int]
    full: tuple[str, ...]


def allot(
    pools: Iterable[Pool], free_cores: Mapping[str, float], starting: int, full_before: Collection[str] = ()
) -> Sizes:
    """Return the size of each pool.

    `free_cores` is by node, `starting` is the number of actors on their way to all nodes, and `full_before` is what the
    plan before said of a full machine.
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
            if pool.planned <= pool.live:  # while one starts, it is the start that takes the core
                full.append(pool.name)
        elif slots > 0:
            sizes[pool.name] += 1
            nodes[node] -= max(1.0, pool.cost)
            slots -= 1
    return Sizes(sizes, tuple(sorted(full)))


def _without_growth(pool: Pool, is_full: bool) -> int:
    """Return the size of the pool with the actors that it has, and with those on their way if they are still wanted."""
    kept = min(pool.wanted, max(pool.live, pool.planned, pool.least))
    if is_full and pool.planned <= pool.live and pool.useful < pool.live:
        kept = min(kept, pool.live - 1)
    return max(pool.least, kept)


def count_starting(pools: Iterable[Pool], sized_ms: Mapping[str, int], now_ms: int) -> int:
    """Return how many planned actors have not come yet. `sized_ms` is when each pool got its present size."""
    return sum(
        max(0, max(pool.planned, pool.least) - pool.live)
        for pool in pools
        if now_ms - sized_ms.get(pool.name, now_ms) < START_MS_MAX
    )
