"""How many actors a vendor's pool needs: for what it delivers now, and to work its backlog off in time.

Rules:

1. Needed is the present rate of calls, and the backlog over `CATCH_UP_S`. Once caught up, the rate of calls is that of
   the arrivals, so nothing else needs to be measured.
2. Never for more than the vendor's contract rate: actors beyond it would only wait for permits.
3. One actor makes `concurrency ÷ latency` calls a second, and `CALLS_MAX_PER_S` at most, which is what a core carries.
4. It at most doubles: processes that start together share the cores that each of them needs to start, and the first
   to be there may be all that was missing. What is still missing then is asked for a moment later.
5. A pool grows when it is busy for more than `BUSY`, and shrinks when fewer would do at `IDLE`. Between, it stays as it
   is, for each change is a new plan and a new process.
"""

from __future__ import annotations

import math

CATCH_UP_S = 2.0
BUSY, IDLE = 0.8, 0.5
CALLS_MAX_PER_S = 800.0
"""An actor makes this many calls a second on one core: 0.6 ms of CPU a call (`python -m benchmarks.dispatch_cost`),
and half the core is left for bursts."""

LATENCY_UNKNOWN_S = 0.1


def pool_size(
    calls_per_s: float,
    latency_s: float,
    backlog: int,
    *,
    concurrency: int,
    rate_per_s: float | None,
    live: int,
    least: int,
    most: int,
) -> int:
    """Actors for a pool, from `least` to `most`. `calls_per_s`: of all its actors now; `latency_s` 0: not known yet."""
    needed_per_s = calls_per_s + backlog / CATCH_UP_S
    each_per_s = min(CALLS_MAX_PER_S, concurrency / (latency_s or LATENCY_UNKNOWN_S))
    grown, kept = (math.ceil(needed_per_s / (each_per_s * share)) for share in (BUSY, IDLE))
    usable = most if rate_per_s is None else math.ceil(rate_per_s / (each_per_s * BUSY))
    return max(least, min(most, usable, max(grown, min(kept, live)), 2 * max(live, 1)))
