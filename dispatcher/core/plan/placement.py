"""The choice of a replica that should leave its machine, so that the loss of one machine stops no pool and no chain.

The rules look only at the present placement. So they hold after a start, a crash, a partition, a rolling change, and
the return of a machine.

1. No two replicas of a pool share a machine while another machine has no replica of the pool.
2. The actors of a route's chain are never all on one machine while there is another machine. Otherwise all vendors of
   the chain would be lost together.

Serve starts a replica where there is room, and never moves it. So a replica that breaks a rule is asked to leave: it
fails its health check, Serve drains it and starts another one, usually on another machine. Only one replica leaves at a
time, and it is the youngest. Each further try waits longer, because moving does not help if the other machine has no
room, or if no replica can start there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

STARTING_S = 5.0
"""The age in seconds below which a replica counts as young. Its pool is starting or being replaced.

Machines may still join meanwhile.
"""
PAUSE_S = 10.0
PAUSE_S_MAX = 640.0
"""The first wait between two moves of a pool is `PAUSE_S` seconds.

Each further wait is twice as long, up to this maximum.
"""
RESTED_S = 120.0
"""The time in seconds after which a pool that has broken no rule begins with the first wait again.

It must be longer than Serve needs to start a replica elsewhere, to give up and to start it where it was: meanwhile too
the pool breaks no rule.
"""


@dataclass(frozen=True, slots=True)
class Placed:
    """One living replica: its name, its pool and its machine, and for how many seconds it has been known."""

    replica: str
    pool: str
    node: str
    age_s: float


def leavers(placed: Collection[Placed], nodes: Collection[str], chains: Iterable[Sequence[str]]) -> Iterator[Placed]:
    """Yield the replicas that should leave their machines: one replica for each case in which a rule of this module is
    broken.

    If a replica of a pool has just started, the whole pool stays where it is. `nodes` are the living machines that may
    have replicas.
    """
    pools: dict[str, list[Placed]] = {}
    for one in placed:
        pools.setdefault(one.pool, []).append(one)
    young = {one.pool for one in placed if one.age_s < STARTING_S}
    for name in sorted(pools.keys() - young):
        leaver = _crowded(pools[name], nodes)
        if leaver is not None:
            yield leaver
    for chain in chains:
        found = [name for name in chain if name in pools]
        here = {one.node for name in found for one in pools[name]}
        if len(found) > 1 and len(here) == 1 and set(nodes) - here and not young & set(found):
            yield max(pools[found[-1]], key=_youth)


def _crowded(pool: Sequence[Placed], nodes: Collection[str]) -> Placed | None:
    occupied = [one.node for one in pool]
    if not set(nodes) - set(occupied):
        return None
    shared = [one for one in pool if occupied.count(one.node) > 1]
    return max(shared, key=_youth) if shared else None


def _youth(one: Placed) -> tuple[float, str]:
    return -one.age_s, one.replica


@dataclass(slots=True)
class Moves:
    """Decides when a replica is moved.

    Only one replica moves at a time. A pool that still breaks a rule after a move waits longer for each further move.
    """

    _leaving: Placed | None = None
    _asked_s: float = 0.0
    _next_s: dict[str, float] = field(default_factory=dict)  # pool → when it may be moved again
    _pause_s: dict[str, float] = field(default_factory=dict)
    _broken_s: dict[str, float] = field(default_factory=dict)  # pool → when it broke a rule last

    def look(
        self, placed: Collection[Placed], nodes: Collection[str], chains: Iterable[Sequence[str]], now_s: float
    ) -> tuple[str, ...]:
        """Return the names of the replicas that should leave now: one or none."""
        if self._leaving is not None:
            there = any(one.replica == self._leaving.replica for one in placed)
            if there and now_s - self._asked_s < PAUSE_S_MAX:
                return (self._leaving.replica,)
            self._leaving = None
        broken = list(leavers(placed, nodes, chains))
        self._broken_s.update((one.pool, now_s) for one in broken)
        for pool in [name for name, at_s in self._broken_s.items() if now_s - at_s > RESTED_S]:
            del self._broken_s[pool]
            self._pause_s.pop(pool, None)
        # A pool that finds no room elsewhere waits for long. The others do not wait with it.
        leaver = next((one for one in broken if now_s >= self._next_s.get(one.pool, 0.0)), None)
        if leaver is None:
            return ()
        pause_s = self._pause_s.get(leaver.pool, PAUSE_S)
        self._next_s[leaver.pool] = now_s + pause_s
        self._pause_s[leaver.pool] = min(PAUSE_S_MAX, 2 * pause_s)
        self._leaving, self._asked_s = leaver, now_s
        return (leaver.replica,)
