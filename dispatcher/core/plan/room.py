"""Which pools may grow: an actor helps only where actors are the limit, and only where a core is free for it.

Rules:

1. A pool asks for more actors only when its own are the limit: nearly all the calls that they may have in flight are
   in flight, or each of them keeps a core nearly busy. A backlog for another reason (Redis, permits, a rate) is no
   reason to grow.
2. A node has room for an actor when it has as many free cores as one actor of that pool uses, and never less than
   `START_CORES`: a process that starts on a full machine takes its cores from the actors at work.
3. A node starts as many actors at once as it has whole free cores, and at least one. Actors that are not there yet
   count, replaced ones too, until `START_MS_MAX` have passed.
4. On a full machine a pool that is larger than useful gives one actor back. Useful is what its calls in flight fill and
   what the CPU time that it gets would keep busy. Idle pools give back by themselves (`sizing`).
5. A pool whose actors are the limit, and for which there is no room, is named: the machine is full.
6. Where nobody measures cores, nothing of this is known, and every pool gets what it asks for.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

START_CORES = 0.3
"""A start needs 3 s of a core: with less than this free it lasts ten seconds, and everybody feels it."""

START_MS_MAX = 60_000
"""An actor that is not there by then will not come soon: it no longer keeps others from starting."""

FULL_CORES = 0.1
"""With less than this free on every node, the machine is full."""

AGAIN_CORES = 0.25
"""A full machine has room again only with so much more: else each small pause would be a new plan."""

FULL_MS = 5000
"""A machine that is called full stays so for this long after the last plan: each change is a plan that all hear."""

LIMITED = 0.8
"""Share of the allowed calls that is in flight, or of a core that is used, when an actor is the limit."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One pool as its actors report it. `cpu`: cores used by each; `waiting`: seconds a second without a core."""

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
        """Return True if more actors could do more: calls are used up, or the actors' own cores are."""
        if not self.live:
            return False
        busy = sum(self.cpu) + sum(self.waiting)
        return self.in_flight >= LIMITED * self.concurrency * self.live or busy >= LIMITED * self.live

    @property
    def cost(self) -> float:
        """Cores that one more actor will use, as far as those at work tell."""
        return max(START_CORES, sum(self.cpu) / len(self.cpu) if self.cpu else 0.0)

    @property
    def useful(self) -> int:
        """Actors that the calls in flight and the CPU time of this pool keep busy."""
        return max(
            *(self.least, 1),
            math.ceil(self.in_flight / (LIMITED * self.concurrency)),
            math.ceil(sum(self.cpu) / LIMITED),
        )


class Sizes(NamedTuple):
    """Actors for each pool; `full`: pools whose actors are the limit, without room for another one."""

    actors: dict[str, int]
    full: tuple[str, ...]


def allot(
    pools: Iterable[Pool], free_cores: Mapping[str, float], starting: int, full_before: Collection[str] = ()
) -> Sizes:
    """Return the size of each pool.

    `free_cores`: of each node; `starting`: actors that are on their way on all nodes; `full_before`: what the plan
    before said of a full machine.
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
    """The size with what it has, and with what is on its way if that is still wanted."""
    kept = min(pool.wanted, max(pool.live, pool.planned, pool.least))
    if is_full and pool.planned <= pool.live and pool.useful < pool.live:
        kept = min(kept, pool.live - 1)
    return max(pool.least, kept)


def count_starting(pools: Iterable[Pool], sized_ms: Mapping[str, int], now_ms: int) -> int:
    """Return how many planned actors are not there yet. `sized_ms`: when each pool got its size."""
    return sum(
        max(0, max(pool.planned, pool.least) - pool.live)
        for pool in pools
        if now_ms - sized_ms.get(pool.name, now_ms) < START_MS_MAX
    )
